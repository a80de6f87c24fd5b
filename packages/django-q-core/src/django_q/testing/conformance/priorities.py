"""Promises about priorities: order, bands, and no starvation."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import connections

from django_q.brokers import EXACT_PRIORITIES, FAIR_FETCHES, Broker

from .suite import DELAY_SECONDS, Suite, needs, needs_priorities, nothing_comes, take, take_many, text, tolerance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Delivery

HIGH, NORMAL, LOW = 50, 0, -50

MIXED_PRIORITIES = (3, -100, 0, 100, -1, 0, 99, 1, -100, 100, 0, 3)


class PriorityPromises(Suite):
    """Packages of a greater priority are delivered first, and none waits without end."""

    @needs_priorities()
    @needs("beside_leases")
    def test_greater_priority_is_delivered_first(self, broker: Broker) -> None:
        for name, priority in (("low", LOW), ("normal", NORMAL), ("high", HIGH)):
            broker.enqueue(name, priority=priority)
        assert one_by_one(broker, 3) == ["high", "normal", "low"]

    @needs_priorities()
    @needs("beside_leases")
    def test_many_with_a_priority_are_delivered_first(self, broker: Broker) -> None:
        broker.enqueue_many(["low 1", "low 2"], priority=LOW)
        broker.enqueue("normal")
        broker.enqueue_many(["high 1", "high 2"], priority=HIGH)
        found = one_by_one(broker, 5)
        assert sorted(found[:2]) == ["high 1", "high 2"]
        assert found[2] == "normal"
        assert sorted(found[3:]) == ["low 1", "low 2"]

    @needs_priorities()
    @needs("beside_leases")
    def test_links_have_a_priority(self, broker: Broker) -> None:
        broker.enqueue("normal")
        broker.enqueue_links(["link"], priority=HIGH)
        assert one_by_one(broker, 2) == ["link", "normal"]

    @needs_priorities(EXACT_PRIORITIES)
    @needs("beside_leases", "in_order")
    def test_each_priority_is_told_apart(self, broker: Broker) -> None:
        sent = [(f"package {number} of {priority}", priority) for number, priority in enumerate(MIXED_PRIORITIES)]
        for package, priority in sent:
            broker.enqueue(package, priority=priority)
        in_order = [package for package, _ in sorted(sent, key=lambda each: -each[1])]
        assert [text(each.package) for each in broker.dequeue_many(4, 1)] == in_order[:4]
        assert one_by_one(broker, len(sent) - 4) == in_order[4:]

    @needs_priorities()
    @needs("beside_leases", "in_order")
    @pytest.mark.parametrize("priority", [HIGH, LOW])
    def test_packages_of_a_priority_arrive_in_order(self, broker: Broker, priority: int) -> None:
        sent = [f"package {number}" for number in range(8)]
        for package in sent[:4]:
            broker.enqueue(package, priority=priority)
        broker.enqueue_many(sent[4:], priority=priority)
        assert [text(each.package) for each in take_many(broker, 8)] == sent

    @needs_priorities()
    @pytest.mark.parametrize("priority", [HIGH, LOW])
    def test_waiting_fetch_returns_a_prioritised_package(self, broker: Broker, other: Broker, priority: int) -> None:
        def consume() -> list[Delivery]:
            try:
                return other.dequeue_many(1, 10)
            finally:
                connections.close_all()

        broker.enqueue("first", priority=priority)  # a product may need time to notice a queue that is created
        other.acknowledge(take(other).ack_id)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(consume)
            broker.enqueue("package", priority=priority)
            found = waiting.result(5 + tolerance(broker))
        assert [text(each.package) for each in found] == ["package"]

    @needs_priorities()
    @needs("beside_leases")
    def test_lower_priority_does_not_starve(self, broker: Broker) -> None:
        broker.enqueue("low", priority=LOW)
        broker.enqueue("normal")
        broker.enqueue_many(["high", "high"], priority=HIGH)
        found: list[str] = []
        for _ in range(3 * FAIR_FETCHES):
            broker.enqueue("high", priority=HIGH)
            found.append(text(take(broker).package))
        assert "normal" in found[: 2 * FAIR_FETCHES + 1]
        assert "low" in found
        assert found.count("high") == len(found) - 2

    @needs_priorities()
    @needs("supports_delay", "beside_leases")
    def test_delayed_package_keeps_its_priority(self, broker: Broker) -> None:
        broker.enqueue("low", delay=DELAY_SECONDS, priority=LOW)
        broker.enqueue("high", delay=DELAY_SECONDS, priority=HIGH)
        assert nothing_comes(broker, DELAY_SECONDS / 2)
        time.sleep(DELAY_SECONDS / 2 + tolerance(broker))  # both are visible then, as `precision` declares
        broker.enqueue("normal")
        assert one_by_one(broker, 3) == ["high", "normal", "low"]

    @needs_priorities()
    @needs("supports_prefetch", "beside_leases")
    def test_released_package_keeps_its_priority(self, broker: Broker) -> None:
        broker.enqueue("high", priority=HIGH)
        broker.enqueue("low", priority=LOW)
        held = take_many(broker, 2)
        broker.enqueue("normal")
        assert broker.release_many([each.ack_id for each in held]) == []
        assert one_by_one(broker, 3) == ["high", "normal", "low"]

    @needs_priorities()
    @needs("supports_renewal", "beside_leases")
    def test_retried_package_keeps_its_priority(self, broker: Broker) -> None:
        broker.enqueue("high", priority=HIGH)
        broker.enqueue("low", priority=LOW)
        held = take_many(broker, 2)
        assert broker.release_many([each.ack_id for each in held], delay=DELAY_SECONDS) == []
        again = take_many(broker, 2)
        assert sorted(text(each.package) for each in again) == ["high", "low"]
        assert [each.attempt for each in again] == [2, 2]
        assert broker.release_many([each.ack_id for each in again]) == []
        broker.enqueue("normal")
        assert one_by_one(broker, 3) == ["high", "normal", "low"]

    @needs_priorities()
    @needs("supports_renewal", "beside_leases")
    def test_expired_package_keeps_its_priority(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("high", priority=HIGH)
        hasty.enqueue("low", priority=LOW)
        for each in take_many(hasty, 2):
            hasty.expire(each.ack_id)
        if type(hasty).expire is Broker.expire:
            time.sleep(self.retry + tolerance(hasty))
        other.enqueue("normal")
        found = [take(other) for _ in range(3)]
        assert [text(each.package) for each in found] == ["high", "normal", "low"]
        assert [each.attempt for each in found] == [2, 1, 2]

    @needs_priorities()
    @needs("supports_receipts")
    @pytest.mark.parametrize("priority", [HIGH, LOW])
    def test_prioritised_package_has_a_lease(self, broker: Broker, other: Broker, priority: int) -> None:
        broker.enqueue("package", priority=priority)
        found = take(broker)
        assert nothing_comes(other)
        assert broker.renew([found.ack_id]) == []
        assert broker.acknowledge_many([found.ack_id]) == []
        assert nothing_comes(other)
        if broker.supports_renewal:
            assert broker.renew([found.ack_id]) == [found.ack_id]

    @needs_priorities()
    def test_sizes_count_all_priorities(self, broker: Broker) -> None:
        for priority in (HIGH, NORMAL, LOW):
            broker.enqueue(f"package {priority}", priority=priority)
        assert broker.queue_size() == 3
        if broker.supports_lock_size and self.beside_leases:
            take_many(broker, 3)
            assert broker.lock_size() == 3

    @needs_priorities()
    @pytest.mark.parametrize("method", ["purge_queue", "delete_queue"])
    def test_all_priorities_are_deleted(self, broker: Broker, method: str) -> None:
        for priority in (HIGH, NORMAL, LOW):
            broker.enqueue(f"package {priority}", priority=priority)
        getattr(broker, method)()
        assert nothing_comes(broker)
        broker.enqueue("later", priority=HIGH)
        assert text(take(broker).package) == "later"

    @needs_priorities()
    @needs("supports_receipts")
    def test_prioritised_package_becomes_a_dead_letter(self, broker: Broker) -> None:
        broker.enqueue("package", priority=HIGH)
        broker.move_to_dead_letters(take(broker))
        assert broker.dead_size() == 1
        assert nothing_comes(broker)
        assert broker.requeue_dead() == 1
        assert text(take(broker).package) == "package"


def one_by_one(broker: Broker, count: int) -> Sequence[str]:
    """Return the next *count* packages. Each is fetched alone, by a consumer without a fair fetch."""
    assert count < FAIR_FETCHES
    found = []
    for _ in range(count):
        broker._fetches = 0
        found.append(text(take(broker).package))
    return found
