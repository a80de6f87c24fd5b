"""Promises about concurrent use of a queue by several processes."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest
from django.db import connections

from .suite import (
    LONG_LEASE_SECONDS,
    TIMEOUT_SECONDS,
    HoldAsOld,
    MakeBroker,
    Suite,
    needs,
    nothing_comes,
    take,
    take_many,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django_q.brokers import Broker

T = TypeVar("T")


class NeighbourPromises(Suite):
    """Consumers, administrators and clusters of the public editions do not disturb each other."""

    def test_requeue_ends_beside_a_cluster_that_cannot_read(
        self, broker: Broker, make_broker: MakeBroker, list_key: str
    ) -> None:
        broker.enqueue_many([f"unreadable {number}" for number in range(5)])
        for found in take_many(broker, 5):
            broker.move_to_dead_letters(found)
        with cannot_read(self.with_lease(make_broker(list_key), LONG_LEASE_SECONDS)):
            assert in_thread(broker.requeue_dead).result(TIMEOUT_SECONDS) <= 5
        assert broker.dead_size() + broker.queue_size() == 5

    @needs("supports_receipts")
    def test_fetch_that_waits_outlives_the_deletion_of_its_queue(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("before")
        hasty.acknowledge(take(hasty).ack_id)
        waiting = in_thread(lambda: hasty.dequeue_many(1, 3))
        wait([waiting], 0.5)
        other.delete_queue()
        hasty.enqueue("after")
        # If the waiting fetch got the package, it never settles it: the package is redelivered when the lease expires.
        held = waiting.result(TIMEOUT_SECONDS)
        again = take(other)
        assert {text(each.package) for each in [*held, again]} == {"after"}
        assert again.attempt == 1 + len(held)

    @needs("supports_receipts")
    def test_deleted_queue_has_no_leases(self, broker: Broker, other: Broker) -> None:
        broker.enqueue_many(["acknowledged", "released"])
        acknowledged, released = (found.ack_id for found in take_many(broker, 2))
        other.delete_queue()
        other.enqueue("another")
        theirs = take(other)
        broker.renew([acknowledged, released])
        broker.acknowledge(acknowledged)
        broker.release(released)
        assert nothing_comes(broker)
        assert other.acknowledge(theirs.ack_id) is not False

    @needs("supports_receipts")
    def test_lease_of_a_public_edition_is_kept(
        self, hasty: Broker, list_key: str, hold_as_old: HoldAsOld | None
    ) -> None:
        """Do not deliver a package of such a consumer before its lease expires."""
        if hold_as_old is None:
            pytest.skip(f"{type(self).__name__} has no fixture hold_as_old")
        hasty.enqueue("package")
        assert hold_as_old(list_key, self.retry) == "package"
        assert nothing_comes(hasty, within=self.retry / 2)
        assert text(take(hasty).package) == "package"

    @needs("supports_receipts")
    def test_public_edition_keeps_our_lease(self, broker: Broker, list_key: str, hold_as_old: HoldAsOld | None) -> None:
        if hold_as_old is None:
            pytest.skip(f"{type(self).__name__} has no fixture hold_as_old")
        broker.enqueue("package")
        mine = take(broker)
        assert hold_as_old(list_key, self.retry) is None
        assert broker.acknowledge(mine.ack_id) is not False


def in_thread(call: Callable[[], T]) -> Future[T]:
    """Make a call in a daemon thread, which ends with the process if the call never returns."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised in the test that waits for the result
            future.set_exception(error)
        finally:
            connections.close_all()

    threading.Thread(target=run, daemon=True).start()
    return future


@contextmanager
def cannot_read(broker: Broker) -> Iterator[None]:
    """Run a consumer that moves each package to the dead letters, until the end of the block."""
    ended = threading.Event()

    def move_all() -> None:
        while not ended.is_set():
            for found in broker.dequeue_many(10, 0.1):
                broker.move_to_dead_letters(found)

    consumer = in_thread(move_all)
    try:
        yield
    finally:
        ended.set()
        consumer.result(TIMEOUT_SECONDS)
