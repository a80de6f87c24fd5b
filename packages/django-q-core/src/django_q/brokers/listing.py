"""Packages of a queue that are listed, but not leased."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class PackageState(StrEnum):
    """States of a package in a queue."""

    WAITING = "waiting"
    """A consumer may lease it. The lease of an earlier delivery may have expired."""
    DELAYED = "delayed"
    """It is hidden until its delay ends."""
    LEASED = "leased"
    """A consumer has leased it."""
    DEAD = "dead"
    """It is a dead letter."""


class ListedPackage(NamedTuple):
    """A package in a queue."""

    package: str
    """The signed package, not decoded."""
    seconds: float = 0.0
    """Seconds until the end of its delay or lease; 0 for others, and if no consumer has noticed the end yet."""
