"""Prefetch window of a cluster: the number of packages that wait for its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Delivery

SURPLUS_SECONDS = 0.01
"""Working time of the packages beyond `queue_limit`, at the current throughput."""

MAX_SURPLUS_AGE_SECONDS = 0.05
"""Age at which packages beyond `queue_limit` are released if they have not begun."""

MEASURE_SECONDS = 0.002
"""Minimum interval over which the throughput is measured."""

MAX_PACKAGES = 256
"""Maximum number of packages that wait, unless `queue_limit` is higher."""

MAX_BYTES = 128 * 1024
"""Maximum total size of these packages, unless `queue_limit` packages are larger."""


class Prefetch:
    """Window of `queue_limit` packages, which grows while workers finish tasks faster than the broker answers.

    A fetch takes as long as many very short tasks, and with `queue_limit` packages the workers would wait for it. So
    the window contains the work of some milliseconds. Packages that wait for longer are released.

    Args:
        limit: `queue_limit`.
        may_exceed: True if the window may be larger.
    """

    def __init__(self, limit: int, *, may_exceed: bool) -> None:
        self.limit = self.size = limit
        self.may_exceed = may_exceed
        self._bytes = 0
        self._since = 0.0
        self._finished = 0

    @property
    def low_water_mark(self) -> int:
        """Number of waiting packages at which the next fetch is due, so that one fetch returns many packages."""
        return self.size // 4

    def fetched(self, deliveries: Sequence[Delivery]) -> None:
        """Record the average size of the packages of a fetch."""
        self._bytes = sum(len(delivery.package) for delivery in deliveries) // len(deliveries) if deliveries else 0

    def measure(self, finished: int, now: float) -> None:
        """Measure the throughput of the workers and adjust the window.

        Args:
            finished: number of tasks that the workers have finished so far.
            now: `time.monotonic()`, seconds.
        """
        seconds = now - self._since
        if not self.may_exceed or seconds < MEASURE_SECONDS:
            return
        expected = int(SURPLUS_SECONDS * (finished - self._finished) / seconds)
        self._since, self._finished = now, finished
        self.size = max(self.limit, min(expected, 2 * self.size, MAX_PACKAGES, MAX_BYTES // (self._bytes or 1)))

    def shrink(self) -> None:
        """Reset the window to `queue_limit`, because tasks take longer than expected."""
        self.size = self.limit
