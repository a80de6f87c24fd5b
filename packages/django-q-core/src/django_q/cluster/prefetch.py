"""How many packages may wait for the workers of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Delivery

SURPLUS_SECONDS = 0.01
"""What is fetched beyond `queue_limit` is what the workers finish in this time."""

MAX_SURPLUS_AGE_SECONDS = 0.05
"""What is beyond `queue_limit`, and has not begun after this time, goes back to the broker."""

MEASURE_SECONDS = 0.002
"""The pace of the workers is taken over at least this time."""

MAX_PACKAGES = 256
"""Packages that wait at the most, unless `queue_limit` is higher."""

MAX_BYTES = 128 * 1024
"""Their size together, unless `queue_limit` packages are larger."""


class Prefetch:
    """`queue_limit`, and more for as long as the workers finish tasks faster than a broker answers.

    A fetch takes as long as many tasks that do next to nothing: with `queue_limit` packages the workers would wait for
    it. So many are fetched as keep them busy for some milliseconds; what would stay in memory for longer goes back.

    Args:
        limit: `queue_limit`.
        may_exceed: whether more than that may be fetched at all.
    """

    def __init__(self, limit: int, *, may_exceed: bool) -> None:
        self.limit = self.size = limit
        self.may_exceed = may_exceed
        self._bytes = 0
        self._since = 0.0
        self._finished = 0

    @property
    def low_water_mark(self) -> int:
        """How few packages wait when it is time to fetch more: one fetch is to bring many."""
        return self.size // 4

    def fetched(self, deliveries: Sequence[Delivery]) -> None:
        """Take note of the size of packages."""
        self._bytes = sum(len(delivery.package) for delivery in deliveries) // len(deliveries) if deliveries else 0

    def measure(self, finished: int, now: float) -> None:
        """Take the pace of the workers, and follow it.

        Args:
            finished: how many tasks they have finished so far.
            now: `time.monotonic()`, seconds.
        """
        seconds = now - self._since
        if not self.may_exceed or seconds < MEASURE_SECONDS:
            return
        expected = int(SURPLUS_SECONDS * (finished - self._finished) / seconds)
        self._since, self._finished = now, finished
        self.size = max(self.limit, min(expected, 2 * self.size, MAX_PACKAGES, MAX_BYTES // (self._bytes or 1)))

    def shrink(self) -> None:
        """The tasks take longer than was thought: fetch no more than `queue_limit` for now."""
        self.size = self.limit
