"""Back-off after failures, and a throttle for slow operations."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django_q.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.1, 10.0
"""Pause after the first failure, and maximum pause."""


class Backoff:
    """Pause that doubles with each failure, with jitter, so that clusters do not retry at the same time."""

    def __init__(self) -> None:
        self.failures = 0

    @property
    def seconds(self) -> float:
        """Time to wait before the next attempt in seconds; 0.0 after a success."""
        if not self.failures:
            return 0.0
        longest = min(MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS * 2 ** min(self.failures - 1, 16))
        return longest * random.uniform(0.5, 1.0)

    def failed(self) -> bool:
        """Record a failure; return True if it is the first in a row."""
        self.failures += 1
        return self.failures == 1

    def succeeded(self) -> bool:
        """Record a success; return True if the previous attempt failed."""
        ended = self.failures > 0
        self.failures = 0
        return ended


class Throttle:
    """Adaptive throttle. After an operation of *t* seconds, the next one is due after 20 *t*: at most 5 % of the time.

    Args:
        longest: maximum pause in seconds.
    """

    PAUSE_FACTOR = 20
    """Length of the pause in multiples of the operation's duration."""

    def __init__(self, longest: float = float("inf")) -> None:
        self.longest = longest
        self._due_at = 0.0

    @property
    def due(self) -> bool:
        """True if the operation is due."""
        return monotonic() >= self._due_at

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the operation, which the block executes, and start the pause after it."""
        began = monotonic()
        try:
            yield
        finally:
            ended = monotonic()
            self._due_at = ended + min(self.PAUSE_FACTOR * (ended - began), self.longest)
