"""Promises: queues are counted and emptied, and nothing unreadable is thrown away."""

# ruff: noqa: D102 - the name of a promise says it

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from django.db import connections

from django_q.testing.eventually import eventually

from .suite import SLACK, Suite, needs, nothing_comes, take, take_many, text

if TYPE_CHECKING:
    from django_q.brokers import Broker

LETTERS = 12
"""Number of dead letters that are brought back."""


class DeadLetterPromises(Suite):
    """What nobody can read is kept."""

    def test_buried_package_is_not_offered_again(self, hasty: Broker) -> None:
        hasty.enqueue("unreadable")
        hasty.bury(take(hasty))
        assert nothing_comes(hasty, within=self.retry * 1.5)

    def test_buried_package_is_counted(self, broker: Broker) -> None:
        broker.enqueue("unreadable")
        broker.bury(take(broker))
        eventually(lambda: broker.dead_size() == 1, SLACK)

    def test_buried_package_can_be_brought_back(self, broker: Broker) -> None:
        broker.enqueue("unreadable")
        broker.bury(take(broker))
        assert broker.requeue_dead() == 1
        assert text(take(broker).package) == "unreadable"
        assert broker.dead_size() == 0

    @needs("supports_dead_letters")
    def test_some_are_brought_back(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        for found in take_many(broker, 3):
            broker.bury(found)
        assert broker.requeue_dead(2) == 2
        assert broker.dead_size() == 1

    def test_bringing_back_ends_beside_a_consumer_that_cannot_read_them(self, broker: Broker, other: Broker) -> None:
        broker.enqueue_many([f"unreadable {number}" for number in range(LETTERS)])
        for found in take_many(broker, LETTERS):
            broker.bury(found)
        buried: list[str] = []
        ended = threading.Event()

        def consume() -> None:
            try:
                while len(buried) < 10 * LETTERS and not ended.is_set():
                    for found in other.dequeue_many(LETTERS, 0.1):
                        other.bury(found)
                        buried.append(text(found.package))
            finally:
                connections.close_all()

        consumer = threading.Thread(target=consume)
        consumer.start()
        try:
            assert broker.requeue_dead() <= LETTERS
        finally:
            ended.set()
            consumer.join()
        for found in take_many(broker, broker.queue_size()):
            broker.bury(found)
        eventually(lambda: broker.dead_size() == LETTERS, SLACK)

    def test_no_dead_letters_are_brought_back_from_none(self, broker: Broker) -> None:
        assert broker.requeue_dead() == 0


class QueuePromises(Suite):
    """Queues are counted and emptied."""

    def test_queue_size_counts_what_waits(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        eventually(lambda: broker.queue_size() == 3, SLACK)

    @needs("supports_receipts")
    def test_queue_size_does_not_count_leases(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        take(broker)
        eventually(lambda: broker.queue_size() == 2, SLACK)

    @needs("supports_delay")
    def test_queue_size_does_not_count_delayed_packages(self, broker: Broker) -> None:
        broker.enqueue("later", delay=60)
        broker.enqueue("now")
        eventually(lambda: broker.queue_size() == 1, SLACK)

    @needs("supports_lock_size")
    def test_lock_size_counts_leases(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        first, second = take_many(broker, 2)
        eventually(lambda: broker.lock_size() == 2, SLACK)
        broker.acknowledge_many([first.ack_id, second.ack_id])
        eventually(lambda: broker.lock_size() == 0, SLACK)

    def test_purged_queue_is_empty(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        broker.purge_queue()
        assert nothing_comes(broker)
        eventually(lambda: broker.queue_size() == 0, SLACK)

    def test_deleted_queue_is_empty(self, broker: Broker) -> None:
        broker.enqueue("package")
        broker.delete_queue()
        assert nothing_comes(broker)

    def test_deleted_queue_is_made_again(self, broker: Broker) -> None:
        broker.enqueue("before")
        broker.delete_queue()
        broker.enqueue("after")
        assert text(take(broker).package) == "after"
