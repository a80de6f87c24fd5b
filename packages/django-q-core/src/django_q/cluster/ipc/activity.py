"""Shared memory of a cluster's activity: numbers of attempts that ended."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

WORDS: Final = 4
"""Number of words of an `ActivityTally` in shared memory."""


class Numbers(NamedTuple):
    """Numbers of attempts that ended, of one time or one cluster."""

    successes: int = 0
    failures: int = 0
    waits: int = 0
    """Number of first attempts, which are those with a waiting time."""
    wait_seconds: float = 0.0
    """Sum of these times."""

    def plus(self, other: Numbers) -> Numbers:
        """Return the sums."""
        return Numbers(
            self.successes + other.successes,
            self.failures + other.failures,
            self.waits + other.waits,
            self.wait_seconds + other.wait_seconds,
        )

    def minus(self, other: Numbers) -> Numbers:
        """Return the differences."""
        return Numbers(
            self.successes - other.successes,
            self.failures - other.failures,
            self.waits - other.waits,
            self.wait_seconds - other.wait_seconds,
        )


class ActivityTally:
    """Numbers in shared memory that grow. One process writes them.

    Args:
        ints: the shared memory, as integers.
        floats: the shared memory, as floats.
        at: index of the first word.
    """

    def __init__(self, ints: Any, floats: Any, at: int) -> None:
        self._ints, self._floats, self._at = ints, floats, at

    def add(self, numbers: Numbers) -> None:
        """Add numbers."""
        ints, at = self._ints, self._at
        ints[at] += numbers.successes
        ints[at + 1] += numbers.failures
        ints[at + 2] += numbers.waits
        self._floats[at + 3] += numbers.wait_seconds

    @property
    def numbers(self) -> Numbers:
        """The sums since the start of the cluster."""
        ints, at = self._ints, self._at
        return Numbers(ints[at], ints[at + 1], ints[at + 2], self._floats[at + 3])
