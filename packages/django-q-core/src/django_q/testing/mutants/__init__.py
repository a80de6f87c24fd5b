"""Mutants: brokers with one deliberate fault each, and the promises of the conformance suite that detect it."""

from __future__ import annotations

from .correct import CLIENT_ERRORS, TOO_LARGE_BYTES, CorrectBroker, Mutant
from .counting import COUNTING_MUTANTS
from .leasing import LEASING_MUTANTS
from .listing import LISTING_MUTANTS
from .ordering import ORDERING_MUTANTS
from .reaching import REACHING_MUTANTS
from .sending import SENDING_MUTANTS

MUTANTS: tuple[type[Mutant], ...] = (
    *SENDING_MUTANTS,
    *LEASING_MUTANTS,
    *COUNTING_MUTANTS,
    *REACHING_MUTANTS,
    *ORDERING_MUTANTS,
    *LISTING_MUTANTS,
)
"""All mutants."""

__all__ = ["CLIENT_ERRORS", "MUTANTS", "TOO_LARGE_BYTES", "CorrectBroker", "Mutant"]
