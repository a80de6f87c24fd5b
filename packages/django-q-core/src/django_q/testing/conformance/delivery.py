"""Promises about sending: each package arrives unchanged, once, in order."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from django.db import connections

from .suite import TIMEOUT_SECONDS, MakeBroker, Suite, needs, nothing_comes, take, take_many, text

if TYPE_CHECKING:
    from django_q.brokers import Broker

PACKAGES = {
    "signed": "gASVCgAAAAAAAAB9lIwCaWSUSwFzLg:1vXyZ_-:Zm9v-YmFy_",
    "not ascii": "naïve · Größe · 任务 · 🚀",
    "spaced": "  spaces around, a line\n and a carriage return\r\n ",
    "quoted": "a 'quoted' \"package\" {with} %s \\ and\ttabs",
    "200 KB": "0123456789abcdef" * 12_800,
}


class DeliveryPromises(Suite):
    """Sent packages arrive."""

    @pytest.mark.parametrize("kind", PACKAGES)
    def test_package_arrives_unchanged(self, broker: Broker, kind: str) -> None:
        broker.enqueue(PACKAGES[kind])
        assert text(take(broker).package) == PACKAGES[kind]

    @needs("beside_leases")
    def test_packages_arrive_once(self, broker: Broker) -> None:
        sent = {f"package {number}" for number in range(20)}
        for package in sent:
            broker.enqueue(package)
        assert sorted(text(found.package) for found in take_many(broker, 20)) == sorted(sent)
        assert nothing_comes(broker)

    @needs("in_order", "beside_leases")
    def test_packages_arrive_in_order(self, broker: Broker) -> None:
        sent = [f"package {number}" for number in range(15)]
        for package in sent:
            broker.enqueue(package)
        assert [text(found.package) for found in take_many(broker, 15)] == sent

    def test_package_arrives_at_another_broker(self, broker: Broker, other: Broker) -> None:
        broker.enqueue("package")
        assert text(take(other).package) == "package"

    @needs("beside_leases")
    def test_two_consumers_receive_no_package_twice(
        self, broker: Broker, make_broker: MakeBroker, list_key: str
    ) -> None:
        for number in range(60):
            broker.enqueue(f"package {number}")
        found: list[str] = []

        def consume() -> None:
            mine = self.with_lease(make_broker(list_key), 60)
            try:
                deadline = time.monotonic() + TIMEOUT_SECONDS
                while len(found) < 60 and time.monotonic() < deadline:
                    found.extend(text(delivery.package) for delivery in mine.dequeue_many(3, 0.1))
            finally:
                connections.close_all()

        consumers = [threading.Thread(target=consume) for _ in range(3)]
        for consumer in consumers:
            consumer.start()
        for consumer in consumers:
            consumer.join()
        assert sorted(found) == sorted(f"package {number}" for number in range(60))

    @needs("beside_leases")
    def test_threads_share_a_broker(self, broker: Broker) -> None:
        def produce() -> None:
            try:
                for number in range(10):
                    broker.enqueue(f"package {number}")
            finally:
                connections.close_all()

        producers = [threading.Thread(target=produce) for _ in range(4)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join()
        assert len(take_many(broker, 40)) == 40

    def test_queues_are_separate(self, broker: Broker, make_broker: MakeBroker, list_key: str) -> None:
        neighbour = self.with_lease(make_broker(f"{list_key}-b"), 60)
        try:
            broker.enqueue("ours")
            assert nothing_comes(neighbour)
            neighbour.enqueue("theirs")
            assert text(take(broker).package) == "ours"
            assert text(take(neighbour).package) == "theirs"
        finally:
            neighbour.delete_queue()


class BulkPromises(Suite):
    """Calls for several packages have the effect of calls for each one."""

    @needs("beside_leases")
    def test_many_are_sent_at_once(self, broker: Broker) -> None:
        sent = [f"package {number}" for number in range(25)]
        broker.enqueue_many(sent)
        assert sorted(text(found.package) for found in take_many(broker, 25)) == sorted(sent)

    @needs("in_order", "beside_leases")
    def test_many_are_sent_in_order(self, broker: Broker) -> None:
        sent = [f"package {number}" for number in range(25)]
        broker.enqueue_many(sent)
        assert [text(found.package) for found in take_many(broker, 25)] == sent

    def test_many_arrive_unchanged(self, broker: Broker) -> None:
        broker.enqueue_many(list(PACKAGES.values()))
        for _ in PACKAGES:
            found = take(broker)
            assert text(found.package) in PACKAGES.values()
            broker.acknowledge(found.ack_id)

    def test_links_of_chains_arrive(self, broker: Broker) -> None:
        broker.enqueue_links([PACKAGES["not ascii"]])
        assert text(take(broker).package) == PACKAGES["not ascii"]

    def test_sending_none_is_harmless(self, broker: Broker) -> None:
        broker.enqueue_many([])
        assert nothing_comes(broker)

    @needs("supports_bulk")
    def test_one_fetch_returns_several_packages(self, broker: Broker) -> None:
        broker.enqueue_many([f"package {number}" for number in range(10)])
        assert len(broker.dequeue_many(10, 5)) > 1

    @needs("supports_bulk")
    def test_fetch_returns_at_most_the_limit(self, broker: Broker) -> None:
        broker.enqueue_many([f"package {number}" for number in range(5)])
        assert len(broker.dequeue_many(2, 5)) <= 2
