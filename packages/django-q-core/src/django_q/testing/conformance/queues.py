"""Promises about queue sizes, purging and dead letters."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django.db import connections

from django_q.testing.eventually import eventually

from .suite import (
    DELAY_SECONDS,
    LONG_LEASE_SECONDS,
    TIMEOUT_SECONDS,
    MakeBroker,
    Suite,
    needs,
    nothing_comes,
    take,
    take_many,
    text,
    tolerance,
)

if TYPE_CHECKING:
    from django_q.brokers import Broker

DEAD_LETTERS = 12
"""Number of dead letters that are requeued."""


class DeadLetterPromises(Suite):
    """Unreadable packages are kept."""

    def test_dead_letter_is_not_delivered_again(self, hasty: Broker) -> None:
        hasty.enqueue("unreadable")
        for _ in range(5):  # on a slow machine, the lease may expire first, and the package is delivered again
            began = time.monotonic()
            hasty.move_to_dead_letters(take(hasty))
            if time.monotonic() - began < self.retry / 2:
                break
        assert nothing_comes(hasty, within=self.retry * 1.5)

    def test_dead_letter_is_counted(self, broker: Broker) -> None:
        broker.enqueue("unreadable")
        broker.move_to_dead_letters(take(broker))
        eventually(lambda: broker.dead_size() == 1, TIMEOUT_SECONDS)

    def test_dead_letter_can_be_requeued(self, broker: Broker) -> None:
        broker.enqueue("unreadable")
        broker.move_to_dead_letters(take(broker))
        assert broker.requeue_dead() == 1
        assert text(take(broker).package) == "unreadable"
        assert broker.dead_size() == 0

    def test_dead_letters_are_requeued_unchanged_and_oldest_first(self, broker: Broker) -> None:
        sent = ["naïve · Größe · 任务 · 🚀", "  spaces around, a line\n", "a 'quoted' \"package\" %s \\"]
        for package in sent:
            broker.enqueue(package)
            broker.move_to_dead_letters(take(broker))
        found = []
        for _ in sent:
            assert broker.requeue_dead(1) == 1
            found.append(take(broker))
            broker.acknowledge(found[-1].ack_id)
        packages = [text(each.package) for each in found]
        assert (packages if self.in_order else sorted(packages)) == (sent if self.in_order else sorted(sent))

    def test_dead_letters_are_listed_and_stay(self, broker: Broker) -> None:
        sent = ["naïve · Größe · 任务 · 🚀", "  spaces around, a line\n"]
        for package in sent:
            broker.enqueue(package)
            broker.move_to_dead_letters(take(broker))
        eventually(lambda: sorted(broker.list_dead(10)) == sorted(sent), TIMEOUT_SECONDS)
        eventually(lambda: broker.dead_size() == 2, TIMEOUT_SECONDS)
        eventually(lambda: len(broker.list_dead(1)) == 1, TIMEOUT_SECONDS)
        assert broker.list_dead(0) == []

    def test_one_dead_letter_is_deleted(self, broker: Broker) -> None:
        for package in ("one", "two", "three"):
            broker.enqueue(package)
            broker.move_to_dead_letters(take(broker))
        assert not broker.delete_dead("four")
        eventually(lambda: broker.delete_dead("two"), TIMEOUT_SECONDS)
        eventually(lambda: sorted(broker.list_dead(10)) == ["one", "three"], TIMEOUT_SECONDS)

    def test_dead_letter_of_another_queue_stays_there(
        self, broker: Broker, make_broker: MakeBroker, list_key: str
    ) -> None:
        neighbour = make_broker(f"{list_key}-b")
        broker.enqueue("unreadable")
        broker.move_to_dead_letters(take(broker))
        assert neighbour.dead_size() == 0
        assert neighbour.requeue_dead() == 0
        assert broker.dead_size() == 1

    def test_requeue_stops_at_the_limit(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        for found in take_many(broker, 3):
            broker.move_to_dead_letters(found)
        assert broker.requeue_dead(0) == 0
        assert broker.dead_size() == 3
        assert broker.requeue_dead(2) == 2
        assert broker.dead_size() == 1

    @needs("in_order")
    def test_requeued_dead_letters_go_to_the_end(self, broker: Broker) -> None:
        broker.enqueue("unreadable")
        broker.move_to_dead_letters(take(broker))
        broker.enqueue("package")
        assert broker.requeue_dead() == 1
        packages = []
        for _ in range(2):
            found = take(broker)
            packages.append(text(found.package))
            broker.acknowledge(found.ack_id)
        assert packages == ["package", "unreadable"]

    @needs("beside_leases")
    def test_requeue_ends_beside_a_consumer_that_cannot_read(self, broker: Broker, other: Broker) -> None:
        broker.enqueue_many([f"unreadable {number}" for number in range(DEAD_LETTERS)])
        for found in take_many(broker, DEAD_LETTERS):
            broker.move_to_dead_letters(found)
        moved: list[str] = []
        ended = threading.Event()

        def consume() -> None:
            try:
                while len(moved) < 10 * DEAD_LETTERS and not ended.is_set():
                    for found in other.dequeue_many(DEAD_LETTERS, 0.1):
                        other.move_to_dead_letters(found)
                        moved.append(text(found.package))
            finally:
                connections.close_all()

        consumer = threading.Thread(target=consume)
        consumer.start()
        try:
            assert broker.requeue_dead() <= DEAD_LETTERS
        finally:
            ended.set()
            consumer.join()
        for found in take_many(broker, broker.queue_size()):
            broker.move_to_dead_letters(found)
        eventually(lambda: broker.dead_size() == DEAD_LETTERS, TIMEOUT_SECONDS)

    def test_requeue_without_dead_letters_returns_0(self, broker: Broker) -> None:
        assert broker.requeue_dead() == 0


class QueuePromises(Suite):
    """Queues are counted and emptied."""

    def test_queue_size_counts_waiting_packages(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        eventually(lambda: broker.queue_size() == 3, TIMEOUT_SECONDS)

    @needs("supports_receipts")
    def test_queue_size_does_not_count_leases(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        take(broker)
        eventually(lambda: broker.queue_size() == 2, TIMEOUT_SECONDS)

    @needs("supports_delay")
    def test_queue_size_does_not_count_delayed_packages(self, broker: Broker) -> None:
        broker.enqueue("later", delay=60)
        broker.enqueue("now")
        eventually(lambda: broker.queue_size() == 1, TIMEOUT_SECONDS)

    @needs("supports_lock_size")
    def test_lock_size_counts_leases(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        first, second = take_many(broker, 2)
        eventually(lambda: broker.lock_size() == 2, TIMEOUT_SECONDS)
        broker.acknowledge_many([first.ack_id, second.ack_id])
        eventually(lambda: broker.lock_size() == 0, TIMEOUT_SECONDS)

    @needs("supports_lock_size", "supports_renewal", "supports_delay")
    def test_lock_size_does_not_count_delayed_releases(self, broker: Broker) -> None:
        broker.enqueue("package")
        broker.release(take(broker).ack_id, delay=60)
        eventually(lambda: broker.lock_size() == 0, tolerance(broker))

    def test_deleted_queue_is_empty(self, broker: Broker) -> None:
        broker.enqueue("package")
        broker.delete_queue()
        assert nothing_comes(broker)

    @needs("supports_delay")
    def test_deleted_queue_has_no_delayed_packages(self, broker: Broker) -> None:
        broker.enqueue("package", delay=DELAY_SECONDS)
        broker.delete_queue()
        assert nothing_comes(broker, within=DELAY_SECONDS * 1.5)

    def test_queue_with_the_same_prefix_is_not_purged(
        self, broker: Broker, make_broker: MakeBroker, list_key: str
    ) -> None:
        neighbour = self.with_lease(make_broker(f"{list_key}-b"), LONG_LEASE_SECONDS)
        try:
            neighbour.enqueue("unreadable")
            neighbour.move_to_dead_letters(take(neighbour))
            neighbour.enqueue("package")
            broker.enqueue("ours")
            broker.purge_queue()
            broker.delete_queue()
            assert text(take(neighbour).package) == "package"
            eventually(lambda: neighbour.dead_size() == 1, TIMEOUT_SECONDS)
        finally:
            neighbour.delete_queue()

    def test_deleted_queue_has_no_dead_letters(self, broker: Broker) -> None:
        broker.enqueue("unreadable")
        broker.move_to_dead_letters(take(broker))
        eventually(lambda: broker.dead_size() == 1, TIMEOUT_SECONDS)
        broker.delete_queue()
        within = TIMEOUT_SECONDS if self.promises("test_deleted_queue_has_no_dead_letters") else DELAY_SECONDS
        eventually(lambda: broker.dead_size() == 0, within)

    def test_deleted_queue_is_made_again(self, broker: Broker) -> None:
        broker.enqueue("before")
        broker.delete_queue()
        broker.enqueue("after")
        assert text(take(broker).package) == "after"


class PurgePromises(Suite):
    """Purging deletes packages that no consumer has leased, and no others."""

    def test_purged_queue_is_empty(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        broker.purge_queue()
        assert nothing_comes(broker)
        eventually(lambda: broker.queue_size() == 0, TIMEOUT_SECONDS)

    @needs("supports_delay")
    def test_purge_deletes_delayed_packages(self, broker: Broker) -> None:
        broker.enqueue("sent for later", delay=DELAY_SECONDS)
        if broker.supports_renewal:
            broker.enqueue("released for later")
            broker.release(take(broker).ack_id, DELAY_SECONDS)
        broker.purge_queue()
        assert nothing_comes(broker, within=DELAY_SECONDS * 1.5)

    @needs("supports_receipts")
    def test_purge_deletes_packages_with_expired_leases(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        take(hasty)
        time.sleep(self.retry * 1.2)
        other.purge_queue()
        assert nothing_comes(other)

    @needs("supports_receipts")
    def test_purge_keeps_leases(self, broker: Broker, other: Broker) -> None:
        broker.enqueue_many(["kept", "released"])
        kept, released = take_many(broker, 2)
        other.enqueue("forgotten")
        other.purge_queue()
        if broker.supports_renewal:
            assert broker.renew([kept.ack_id]) == []
            assert broker.release(released.ack_id) is not False
            assert text(take(other).package) == text(released.package)
        assert broker.acknowledge(kept.ack_id) is not False

    def test_purge_keeps_dead_letters(self, broker: Broker) -> None:
        broker.enqueue("unreadable")
        broker.move_to_dead_letters(take(broker))
        broker.enqueue("package")
        broker.purge_queue()
        eventually(lambda: broker.dead_size() == 1, TIMEOUT_SECONDS)
        assert broker.requeue_dead() == 1

    @needs("supports_renewal")
    def test_purge_keeps_the_attempts_of_leases(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        take(hasty)
        second = take(other)
        hasty.purge_queue()
        assert second.attempt == 2
        assert other.expire(second.ack_id) is not False
        assert take(other).attempt == 3
