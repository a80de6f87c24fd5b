"""Mutants that count, empty or requeue wrongly."""

# ruff: noqa: D102 - the docstring of a mutant documents its only method

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from django_q.brokers.memory_queue import Entry, local_queue

from .correct import Mutant

if TYPE_CHECKING:
    from django_q.brokers import Delivery


class PurgesLeases(Mutant):
    """Deletes leased packages when the queue is purged."""

    caught_by = ("test_purge_keeps_leases",)

    def purge_queue(self) -> None:
        super().purge_queue()
        self._queue().leased.clear()


class PurgesDeadLetters(Mutant):
    """Deletes dead letters when the queue is purged."""

    caught_by = ("test_purge_keeps_dead_letters",)

    def purge_queue(self) -> None:
        super().purge_queue()
        self._queue().dead.clear()


class PurgeForgetsAttempts(Mutant):
    """Deletes the attempt counts of leased packages when the queue is purged."""

    caught_by = ("test_purge_keeps_the_attempts_of_leases",)

    def purge_queue(self) -> None:
        super().purge_queue()
        leased = self._queue().leased
        leased.update({token: (end, entry._replace(attempts=0)) for token, (end, entry) in leased.items()})


class PurgeKeepsDelayed(Mutant):
    """Keeps delayed packages when the queue is purged."""

    caught_by = ("test_purge_deletes_delayed_packages",)

    def purge_queue(self) -> None:
        self._queue().sizes()
        self._queue().waiting.clear()


class DeadLetterKeepsTheLease(Mutant):
    """Copies a package to the dead letters, and delivers it again when its lease expires."""

    caught_by = ("test_dead_letter_is_not_delivered_again",)

    def fail(self, ack_id: int) -> bool:
        queue = self._queue()
        if kept := queue.leased.get(ack_id):
            queue.dead.append(kept[1])
        return kept is not None


class LostHolderMovesToDeadLetters(Mutant):
    """Copies a package to the dead letters although another consumer holds it."""

    caught_by = ("test_lost_lease_cannot_dead_letter",)

    def move_to_dead_letters(self, delivery: Delivery) -> None:
        super().move_to_dead_letters(delivery)
        if not self.dead_size():
            self._queue().dead.append(Entry(str(delivery.package)))


class RequeueLosesADeadLetter(Mutant):
    """Deletes the last of the dead letters that it requeues."""

    caught_by = ("test_dead_letter_can_be_requeued",)

    def requeue_dead(self, limit: int | None = None) -> int:
        moved = super().requeue_dead(limit)
        if moved:
            self._queue().waiting.pop()
        return moved


class ListingDeletesDeadLetters(Mutant):
    """Deletes the dead letters that it lists."""

    caught_by = ("test_dead_letters_are_listed_and_stay",)

    def list_dead(self, limit: int) -> list[str]:
        found = super().list_dead(limit)
        for package in found:
            super().delete_dead(package)
        return found


class DeletesTheOldestDeadLetter(Mutant):
    """Deletes the oldest dead letter instead of the chosen one."""

    caught_by = ("test_one_dead_letter_is_deleted",)

    def delete_dead(self, package: str) -> bool:
        found = super().list_dead(1000)
        return package in found and super().delete_dead(found[0])


class RequeueIgnoresTheLimit(Mutant):
    """Requeues all dead letters regardless of the limit."""

    caught_by = ("test_requeue_stops_at_the_limit",)

    def requeue_dead(self, limit: int | None = None) -> int:
        return super().requeue_dead()


class RequeuesAllForNone(Mutant):
    """Requeues all dead letters although the limit is 0."""

    caught_by = ("test_requeue_stops_at_the_limit",)

    def requeue_dead(self, limit: int | None = None) -> int:
        return super().requeue_dead(limit or None)


class RequeuesToTheHead(Mutant):
    """Delivers dead letters that it requeues before all others."""

    caught_by = ("test_requeued_dead_letters_go_to_the_end",)

    def requeue_dead(self, limit: int | None = None) -> int:
        moved = super().requeue_dead(limit)
        self._queue().waiting.rotate(moved)
        return moved


class RequeuesTheNewestFirst(Mutant):
    """Requeues the newest dead letter first."""

    caught_by = (
        "test_dead_letters_are_requeued_unchanged_and_oldest_first",
        "test_many_dead_letters_are_requeued",
    )

    def requeue_dead(self, limit: int | None = None) -> int:
        self._queue().dead.reverse()
        moved = super().requeue_dead(limit)
        self._queue().dead.reverse()
        return moved


class DeleteLeavesDelayed(Mutant):
    """Keeps delayed packages when the queue is deleted."""

    caught_by = ("test_deleted_queue_has_no_delayed_packages",)

    def delete_queue(self) -> None:
        hidden = self._queue().hidden
        super().delete_queue()
        self._queue().hidden = hidden


class DeletesByPrefix(Mutant):
    """Deletes all queues with the prefix of its own name."""

    caught_by = ("test_queue_with_the_same_prefix_is_not_purged",)
    names: ClassVar[set[str]] = set()

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        self.names.add(self.list_key)
        return super().enqueue(package, delay=delay, priority=priority)

    def delete_queue(self) -> None:
        for name in {self.list_key, *self.names}:
            if name.startswith(self.list_key):
                local_queue(name).clear()


class RequeueNeverEnds(Mutant):
    """Requeues dead letters as long as a consumer adds new ones."""

    caught_by = ("test_requeue_ends_beside_a_consumer_that_cannot_read",)

    def requeue_dead(self, limit: int | None = None) -> int:
        moved, latest = 0, time.monotonic()
        while time.monotonic() < latest + 0.5:
            if count := super().requeue_dead():
                moved, latest = moved + count, time.monotonic()
            time.sleep(0.01)
        return moved


class RequeueKeepsAttempts(Mutant):
    """Keeps the number of attempts of a dead letter that it requeues."""

    caught_by = ("test_requeued_dead_letter_is_attempt_1",)

    def fail(self, ack_id: int) -> bool:
        queue = self._queue()
        kept = queue.leased.get(ack_id)
        done = super().fail(ack_id)
        if kept and done:
            queue.dead[-1] = kept[1]
        return done


class CountsLeasesAsWaiting(Mutant):
    """Includes leased packages in the size of the queue."""

    caught_by = ("test_queue_size_does_not_count_leases",)

    def queue_size(self) -> int:
        return super().queue_size() + super().lock_size()


class CountsDelayedAsWaiting(Mutant):
    """Includes delayed packages in the size of the queue."""

    caught_by = ("test_queue_size_does_not_count_delayed_packages",)

    def queue_size(self) -> int:
        return super().queue_size() + len(self._queue().hidden)


class DeleteLeavesDeadLetters(Mutant):
    """Keeps dead letters when the queue is deleted."""

    caught_by = ("test_deleted_queue_has_no_dead_letters",)

    def delete_queue(self) -> None:
        dead = self._queue().dead
        super().delete_queue()
        self._queue().dead = dead


class DeleteLeavesLeases(Mutant):
    """Keeps leases when the queue is deleted."""

    caught_by = ("test_deleted_queue_has_no_leases",)

    def delete_queue(self) -> None:
        leased = self._queue().leased
        super().delete_queue()
        self._queue().leased = leased


COUNTING_MUTANTS = (
    PurgesLeases,
    PurgesDeadLetters,
    PurgeForgetsAttempts,
    PurgeKeepsDelayed,
    DeadLetterKeepsTheLease,
    LostHolderMovesToDeadLetters,
    RequeueLosesADeadLetter,
    ListingDeletesDeadLetters,
    DeletesTheOldestDeadLetter,
    RequeueIgnoresTheLimit,
    RequeuesAllForNone,
    RequeuesToTheHead,
    RequeuesTheNewestFirst,
    RequeueNeverEnds,
    RequeueKeepsAttempts,
    CountsLeasesAsWaiting,
    CountsDelayedAsWaiting,
    DeleteLeavesDeadLetters,
    DeleteLeavesDelayed,
    DeleteLeavesLeases,
    DeletesByPrefix,
)
