"""Mutants: brokers with one deliberate fault each, and the promises of the conformance suite that detect it."""

from __future__ import annotations

from .correct import CLIENT_ERRORS, TOO_LARGE_BYTES, CorrectBroker, Mutant
from .counting import COUNTING
from .leasing import LEASING
from .reaching import REACHING
from .sending import SENDING

MUTANTS: tuple[type[Mutant], ...] = (*SENDING, *LEASING, *COUNTING, *REACHING)
"""All mutants."""

__all__ = ["CLIENT_ERRORS", "MUTANTS", "TOO_LARGE_BYTES", "CorrectBroker", "Mutant"]
