"""Mutants that send or deliver wrongly."""

# ruff: noqa: D102 - the docstring of a mutant documents its only method

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django_q.brokers import Delivery

from .correct import Mutant

if TYPE_CHECKING:
    from collections.abc import Sequence


class WaitsTooLong(Mutant):
    """Waits for packages 6 seconds longer than requested."""

    caught_by = ("test_empty_queue_returns_nothing_after_the_wait",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        return super().dequeue_many(limit, wait + 6)


class WaitsUnasked(Mutant):
    """Waits for packages 6 seconds although the wait is 0."""

    caught_by = ("test_empty_queue_is_not_waited_for_without_a_wait",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        return super().dequeue_many(limit, wait or 6)


class LosesLinks(Mutant):
    """Drops the links of chains."""

    caught_by = ("test_links_of_chains_arrive",)

    def enqueue_links(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        return []


class ManglesUnicodeOfMany(Mutant):
    """Replaces characters that are not ASCII when it sends several packages."""

    caught_by = ("test_many_arrive_unchanged",)

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        return super().enqueue_many(
            [package.encode("ascii", "replace").decode() for package in packages], priority=priority
        )


class SleepsThroughArrivals(Mutant):
    """Checks for packages only at the end of the wait."""

    caught_by = ("test_waiting_fetch_returns_when_a_package_arrives",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        time.sleep(wait)
        return super().dequeue_many(limit, 0)


class DelaysTooLong(Mutant):
    """Delivers delayed packages 8 seconds late."""

    caught_by = ("test_leases_and_delays_end_on_time",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=delay and delay + 8, priority=priority)


class DropsLongDelays(Mutant):
    """Delivers packages at once whose delay is longer than 60 seconds."""

    caught_by = ("test_long_delays_do_not_end",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=0 if delay > 60 else delay, priority=priority)


class CapsDelays(Mutant):
    """Delays packages for 60 seconds at most."""

    caught_by = ("test_delay_of_more_than_a_minute_ends_on_time",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=min(delay, 60), priority=priority)


class LosesLongDelays(Mutant):
    """Deletes packages whose delay is longer than 60 seconds."""

    caught_by = ("test_delay_of_more_than_a_minute_ends_on_time",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=delay) if delay <= 60 else 0


class RoundsDelaysDown(Mutant):
    """Delays by whole seconds, rounded down."""

    caught_by = ("test_delay_is_not_rounded_down",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=int(delay), priority=priority)


class TruncatesLargeBatches(Mutant):
    """Sends only the first 1,000 packages of a batch."""

    caught_by = ("test_large_batch_arrives",)

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        return super().enqueue_many(packages[:1_000], priority=priority)


class ManglesUnicode(Mutant):
    """Replaces characters that are not ASCII."""

    caught_by = ("test_package_arrives_unchanged[not ascii]",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package.encode("ascii", "replace").decode(), delay=delay, priority=priority)


class StripsSpace(Mutant):
    """Removes space around packages."""

    caught_by = ("test_package_arrives_unchanged[spaced]",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package.strip(), delay=delay, priority=priority)


class ForgetsTheOrder(Mutant):
    """Returns the packages of one fetch in reverse order."""

    caught_by = ("test_packages_arrive_in_order", "test_many_are_sent_in_order")

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        return super().dequeue_many(limit, wait)[::-1]


class FetchesTooMany(Mutant):
    """Returns up to ten packages regardless of the limit."""

    caught_by = ("test_fetch_returns_at_most_the_limit",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        return super().dequeue_many(max(limit, 10), wait)


class DeliversToTwoConsumers(Mutant):
    """Delivers a package and leaves it in the queue for the next consumer."""

    caught_by = ("test_packages_arrive_once", "test_leased_package_is_not_delivered")

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        taken = self._queue().take(limit, wait, self.settings.retry)
        self._queue().release([token for token, _package, _attempt in taken], 0)
        return [Delivery(*each) for each in taken]


class RacesWithOtherConsumers(Mutant):
    """Reads the next packages before it leases them, so that two consumers may read the same."""

    caught_by = ("test_two_consumers_receive_no_package_twice",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        read = [entry.package for entry in [*self._queue().waiting][:limit]]
        time.sleep(0.01)
        found = super().dequeue_many(limit, wait)
        return [each._replace(package=package) for each, package in zip(found, read, strict=False)]


SENDING_MUTANTS = (
    WaitsTooLong,
    WaitsUnasked,
    LosesLinks,
    ManglesUnicodeOfMany,
    SleepsThroughArrivals,
    DelaysTooLong,
    DropsLongDelays,
    CapsDelays,
    LosesLongDelays,
    RoundsDelaysDown,
    TruncatesLargeBatches,
    ManglesUnicode,
    StripsSpace,
    ForgetsTheOrder,
    FetchesTooMany,
    DeliversToTwoConsumers,
    RacesWithOtherConsumers,
)
