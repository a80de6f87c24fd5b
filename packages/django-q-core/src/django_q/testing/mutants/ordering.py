"""Mutants that treat priorities wrongly."""

# ruff: noqa: D102 - the docstring of a mutant documents its only method

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .correct import Mutant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Delivery
    from django_q.brokers.memory_queue import Entry


class IgnoresPriorities(Mutant):
    """Delivers packages in the order in which they were sent."""

    caught_by = (
        "test_greater_priority_is_delivered_first",
        "test_each_priority_is_told_apart",
        "test_delayed_package_keeps_its_priority",
        "test_released_package_keeps_its_priority",
        "test_retried_package_keeps_its_priority",
        "test_expired_package_keeps_its_priority",
    )

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=delay)


class IgnoresPrioritiesOfMany(Mutant):
    """Ignores the priority of packages that are sent together."""

    caught_by = ("test_many_with_a_priority_are_delivered_first", "test_links_have_a_priority")

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        return super().enqueue_many(packages)


class HasThreeBands(Mutant):
    """Declares that it tells each priority apart, and has three bands."""

    caught_by = ("test_each_priority_is_told_apart",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=delay, priority=(priority > 0) - (priority < 0))


class Starves(Mutant):
    """Delivers a lower priority only if nothing else waits."""

    caught_by = ("test_lower_priority_does_not_starve", "test_random_operations_are_predicted")

    def is_fair_fetch(self) -> bool:
        return False


class ReversesAPriority(Mutant):
    """Delivers the newest package of a priority first."""

    caught_by = ("test_packages_of_a_priority_arrive_in_order", "test_random_operations_are_predicted")

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        number = super().enqueue(package, delay=delay, priority=priority)
        waiting = self._queue().waiting
        if waiting and priority:
            waiting.appendleft(waiting.pop())
        return number


class LosesDelayedPriority(Mutant):
    """Forgets the priority of a delayed package."""

    caught_by = ("test_delayed_package_keeps_its_priority",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=delay, priority=0 if delay else priority)


class LosesReleasedPriority(Mutant):
    """Forgets the priority of a released package."""

    caught_by = (
        "test_released_package_keeps_its_priority",
        "test_retried_package_keeps_its_priority",
        "test_random_operations_are_predicted",
    )

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        queue = self._queue()
        for token in ack_ids:
            if token in queue.leased:
                expiry, entry = queue.leased[token]
                queue.leased[token] = expiry, entry._replace(priority=0)
        return super().release_many(ack_ids, delay)


class LosesExpiredPriority(Mutant):
    """Forgets the priority of a package whose lease expired."""

    caught_by = ("test_expired_package_keeps_its_priority", "test_random_operations_are_predicted")

    def expire(self, ack_id: int) -> bool:
        queue = self._queue()
        if ack_id in queue.leased:
            expiry, entry = queue.leased[ack_id]
            queue.leased[ack_id] = expiry, entry._replace(priority=0)
        return super().expire(ack_id)


class PrioritisedHaveNoLease(Mutant):
    """Delivers packages with a priority without a lease."""

    caught_by = ("test_prioritised_package_has_a_lease",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        found = super().dequeue_many(limit, wait)
        leased: dict[Any, tuple[float, Entry]] = {**self._queue().leased}
        super().release_many([token for token in leased if leased[token][1].priority])
        return found


class CountsNormalPriorityOnly(Mutant):
    """Counts only packages without a priority."""

    caught_by = ("test_sizes_count_all_priorities",)

    def queue_size(self) -> int:
        return sum(not entry.priority for entry in self._queue().waiting)


class PurgesNormalPriorityOnly(Mutant):
    """Purges only packages without a priority."""

    caught_by = ("test_all_priorities_are_deleted[purge_queue]",)

    def purge_queue(self) -> None:
        waiting = self._queue().waiting
        for entry in [entry for entry in waiting if not entry.priority]:
            waiting.remove(entry)


class DeletesNormalPriorityOnly(Mutant):
    """Deletes only the packages without a priority of a queue."""

    caught_by = ("test_all_priorities_are_deleted[delete_queue]",)

    def delete_queue(self) -> None:
        kept = [entry for entry in self._queue().waiting if entry.priority]
        super().delete_queue()
        self._queue().waiting.extend(kept)


class LosesPrioritisedDeadLetters(Mutant):
    """Deletes a package with a priority instead of moving it to the dead letters."""

    caught_by = ("test_prioritised_package_becomes_a_dead_letter",)

    def fail(self, ack_id: int) -> bool:
        return bool(self.acknowledge(ack_id)) if self._queue().leased[ack_id][1].priority else super().fail(ack_id)


class SleepsThroughPriorities(Mutant):
    """Delivers a package with a priority to a waiting fetch 9 seconds late."""

    caught_by = ("test_waiting_fetch_returns_a_prioritised_package",)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        return super().enqueue(package, delay=delay or 9.0 * bool(priority), priority=priority)


ORDERING_MUTANTS = (
    IgnoresPriorities,
    IgnoresPrioritiesOfMany,
    HasThreeBands,
    Starves,
    ReversesAPriority,
    LosesDelayedPriority,
    LosesReleasedPriority,
    LosesExpiredPriority,
    PrioritisedHaveNoLease,
    CountsNormalPriorityOnly,
    PurgesNormalPriorityOnly,
    DeletesNormalPriorityOnly,
    LosesPrioritisedDeadLetters,
    SleepsThroughPriorities,
)
"""All mutants of this module."""
