"""Promises about attempt numbers."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import pickle
from collections import Counter
from typing import TYPE_CHECKING

from .suite import MakeBroker, Suite, needs, take, take_many, text

if TYPE_CHECKING:
    from django_q.brokers import Broker

FETCH_SIZE = 10
"""Number of packages of one fetch."""


class AttemptPromises(Suite):
    """A delivery that started, or may have started, is an attempt."""

    def test_first_delivery_is_attempt_1(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two"])
        assert [found.attempt for found in take_many(broker, 2)] == [1, 1]

    @needs("supports_receipts")
    def test_expired_lease_is_an_attempt(self, hasty: Broker) -> None:
        hasty.enqueue("package")
        assert take(hasty).attempt == 1
        assert take(hasty).attempt == 2
        assert take(hasty).attempt == 3

    @needs("supports_receipts")
    def test_expire_counts_as_an_attempt(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        hasty.expire(take(hasty).ack_id)
        assert take(other).attempt == 2

    @needs("supports_receipts", "supports_renewal", "supports_delay")
    def test_package_released_with_a_delay_is_an_attempt(self, broker: Broker, other: Broker) -> None:
        broker.enqueue("package")
        broker.release(take(broker).ack_id, delay=1)
        second = take(other)
        assert second.attempt == 2
        other.release(second.ack_id, delay=1)
        assert take(broker).attempt == 3

    @needs("supports_receipts", "supports_renewal")
    def test_package_released_without_delay_is_no_attempt(self, broker: Broker, other: Broker) -> None:
        broker.enqueue("package")
        broker.release(take(broker).ack_id)
        second = take(other)
        assert second.attempt == 1
        other.release(second.ack_id)
        assert take(broker).attempt == 1

    @needs("supports_receipts", "supports_renewal")
    def test_release_without_delay_keeps_earlier_attempts(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        take(hasty)
        second = take(other)
        assert second.attempt == 2
        other.release(second.ack_id)
        assert take(other).attempt == 2

    @needs("supports_receipts", "supports_renewal", "supports_delay")
    def test_attempts_of_each_kind_add_up(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        other.release(take(other).ack_id)
        hasty.release(take(hasty).ack_id, delay=1)
        assert take(hasty).attempt == 2
        third = take(hasty)
        assert third.attempt == 3
        hasty.expire(third.ack_id)
        fourth = take(other)
        assert fourth.attempt == 4
        other.release(fourth.ack_id)
        assert take(other).attempt == 4

    @needs("supports_receipts", "supports_renewal")
    def test_renewed_lease_is_one_attempt(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        mine = take(other)
        assert other.renew([mine.ack_id]) == []
        assert other.renew([mine.ack_id]) == []
        other.expire(mine.ack_id)
        assert take(hasty).attempt == 2

    @needs("supports_receipts", "beside_leases")
    def test_each_package_of_a_fetch_has_its_attempt(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue_many([f"package {number}" for number in range(FETCH_SIZE)])
        earlier = Counter(text(each.package) for each in take_many(hasty, FETCH_SIZE))
        again = take_many(other, FETCH_SIZE)
        assert [each.attempt for each in again] == [1 + earlier[text(each.package)] for each in again]

    @needs("supports_receipts", "beside_leases")
    def test_attempts_are_those_of_one_package(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("first")
        take(hasty)
        again = take(other)
        other.enqueue("second")
        assert [(text(each.package), each.attempt) for each in (again, take(other))] == [("first", 2), ("second", 1)]

    @needs("supports_receipts")
    def test_acknowledged_package_that_is_sent_again_is_attempt_1(self, hasty: Broker) -> None:
        hasty.enqueue("package")
        take(hasty)
        second = take(hasty)
        assert second.attempt == 2
        assert hasty.acknowledge_many([second.ack_id]) == []
        hasty.enqueue("package")
        assert take(hasty).attempt == 1

    @needs("supports_receipts")
    def test_requeued_dead_letter_is_attempt_1(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("unreadable")
        take(hasty)
        second = take(other)
        assert second.attempt == 2
        other.move_to_dead_letters(second)
        assert other.requeue_dead() == 1
        assert take(other).attempt == 1

    @needs("supports_receipts", "shared")
    def test_another_client_knows_the_attempt(self, hasty: Broker, make_broker: MakeBroker, list_key: str) -> None:
        hasty.enqueue("package")
        take(hasty)
        newcomer = pickle.loads(pickle.dumps(self.with_lease(make_broker(list_key), 60)))
        assert take(newcomer).attempt == 2
