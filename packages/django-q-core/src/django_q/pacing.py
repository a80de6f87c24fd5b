"""Pauses: back-off after failures, and a throttle for work that takes long."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django_q.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 10.0


class Backoff:
    """Doubles the wait with each failure, with jitter, so that many clusters do not come back at once."""

    def __init__(self) -> None:
        self.failures = 0

    @property
    def seconds(self) -> float:
        """How long to wait now; 0.0 while all is well."""
        if not self.failures:
            return 0.0
        longest = min(MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS * 2 ** min(self.failures - 1, 16))
        return longest * random.uniform(0.5, 1.0)

    def failed(self) -> bool:
        """Count a failure; whether it is the first of its row."""
        self.failures += 1
        return self.failures == 1

    def succeeded(self) -> bool:
        """Count a success; whether it ends a row of failures."""
        ended = self.failures > 0
        self.failures = 0
        return ended


class Throttle:
    """Limits work to a twentieth of the time: the longer it takes, the longer it waits until it is due again.

    Args:
        longest: seconds after which it is due in any case.
    """

    PAUSE_FACTOR = 20
    """After it, so many times as long passes until it is due again."""

    def __init__(self, longest: float = float("inf")) -> None:
        self.longest = longest
        self._due_at = 0.0

    @property
    def due(self) -> bool:
        """Is it time to do it again?"""
        return monotonic() >= self._due_at

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Do it."""
        began = monotonic()
        try:
            yield
        finally:
            ended = monotonic()
            self._due_at = ended + min(self.PAUSE_FACTOR * (ended - began), self.longest)
