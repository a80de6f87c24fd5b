"""Deliberately wrong brokers: each has one fault, and names the promises of the conformance suite that find it."""

from __future__ import annotations

from .correct import CLIENT_ERRORS, TOO_LARGE, CorrectBroker, Mutant
from .counting import COUNTING
from .leasing import LEASING
from .reaching import REACHING
from .sending import SENDING

MUTANTS: tuple[type[Mutant], ...] = (*SENDING, *LEASING, *COUNTING, *REACHING)
"""All wrong brokers."""

__all__ = ["CLIENT_ERRORS", "MUTANTS", "TOO_LARGE", "CorrectBroker", "Mutant"]
