"""Promises about acknowledgement, leases and releases."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import time
from itertools import pairwise

from django_q.brokers import Broker

from .suite import DELAY_SECONDS, Suite, needs, nothing_comes, take, take_many, text

MAX_STALLS = 3
"""Number of times that a machine may be too slow to renew a lease in time."""


class ReceiptPromises(Suite):
    """Packages are redelivered until they are acknowledged."""

    @needs("supports_receipts")
    def test_leased_package_is_not_delivered(self, broker: Broker, other: Broker) -> None:
        broker.enqueue("package")
        take(broker)
        assert nothing_comes(other)

    @needs("supports_receipts")
    def test_unacknowledged_package_is_redelivered(self, hasty: Broker) -> None:
        hasty.enqueue("package")
        started = time.monotonic()
        first = take(hasty)
        second = take(hasty)
        assert text(second.package) == "package"
        assert second.ack_id != first.ack_id
        assert time.monotonic() - started >= self.retry * 0.9

    @needs("supports_receipts")
    def test_acknowledged_package_is_not_redelivered(self, hasty: Broker) -> None:
        hasty.enqueue("package")
        assert hasty.acknowledge(take(hasty).ack_id) is not False
        assert nothing_comes(hasty, within=self.retry * 1.5)

    @needs("supports_receipts")
    def test_acknowledged_packages_are_not_redelivered(self, hasty: Broker) -> None:
        hasty.enqueue_many(["one", "two", "three"])
        assert hasty.acknowledge_many([found.ack_id for found in take_many(hasty, 3)]) == []
        assert nothing_comes(hasty, within=self.retry * 1.5)

    @needs("supports_receipts")
    def test_acknowledging_twice_is_harmless(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two"])
        first, second = take_many(broker, 2)
        broker.acknowledge(first.ack_id)
        assert not broker.acknowledge(first.ack_id)
        assert broker.acknowledge(second.ack_id) is not False

    @needs("supports_receipts")
    def test_acknowledging_none_is_harmless(self, broker: Broker) -> None:
        assert broker.acknowledge_many([]) == []

    @needs("supports_prefetch")
    def test_prefetched_packages_are_released_to_their_place(self, broker: Broker, other: Broker) -> None:
        sent = [f"package {number}" for number in range(20)]
        broker.enqueue_many(sent)
        found = broker.dequeue_many(10, 5)
        kept, surplus = found[:4], found[4:]
        assert surplus
        broker.release_many([delivery.ack_id for delivery in surplus])
        again = take_many(other, len(sent) - len(kept))
        assert [text(delivery.package) for delivery in [*kept, *again]] == sent
        assert {delivery.attempt for delivery in again} == {1}


class LeasePromises(Suite):
    """A renewed lease is kept. A holder that lost its lease can change nothing."""

    @needs("supports_renewal")
    def test_renewed_lease_outlives_retry(self, hasty: Broker, other: Broker) -> None:
        kept = False
        for _ in range(MAX_STALLS):
            hasty.delete_queue()
            hasty.enqueue("package")
            mine, kept, renewed = take(hasty), True, [time.monotonic()]
            for _ in range(10):
                kept = kept and nothing_comes(other, within=self.retry / 4) and hasty.renew([mine.ack_id]) == []
                renewed.append(time.monotonic())
            kept = kept and hasty.acknowledge(mine.ack_id) is not False
            if kept or max(later - earlier for earlier, later in pairwise(renewed)) < self.retry:
                break  # otherwise, the machine stalled and the lease had to expire
        assert kept

    @needs("supports_renewal")
    def test_lost_lease_cannot_be_renewed(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue_many(["one", "two"])
        lost = [found.ack_id for found in take_many(hasty, 2)]
        take_many(other, 2)
        assert hasty.renew(lost) == lost

    @needs("supports_renewal")
    def test_lost_lease_cannot_acknowledge(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        lost = take(hasty)
        theirs = take(other)
        assert hasty.acknowledge(lost.ack_id) is False
        assert other.renew([theirs.ack_id]) == []
        assert other.acknowledge(theirs.ack_id) is not False

    @needs("supports_renewal", "beside_leases")
    def test_lost_leases_are_distinguished_from_kept_ones(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("lost")
        lost = take(hasty)
        theirs = take(other)
        other.enqueue("kept")
        kept = take(other)
        assert other.acknowledge_many([lost.ack_id, kept.ack_id]) == [lost.ack_id]
        assert other.acknowledge(theirs.ack_id) is not False

    @needs("supports_renewal")
    def test_each_lost_lease_of_a_package_is_reported(self, broker: Broker) -> None:
        broker.enqueue("package")
        lost = [take(broker).ack_id]
        broker.release(lost[0])
        lost.append(take(broker).ack_id)
        broker.acknowledge(lost[1])
        assert broker.acknowledge_many(lost) == lost
        assert broker.renew(lost) == lost
        assert broker.release_many(lost) == lost

    @needs("supports_renewal")
    def test_lost_lease_cannot_release(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        lost = take(hasty)
        theirs = take(other)
        assert hasty.release(lost.ack_id) is False
        assert hasty.release_many([lost.ack_id]) == [lost.ack_id]
        assert nothing_comes(hasty)
        assert other.acknowledge(theirs.ack_id) is not False

    @needs("supports_renewal", "supports_delay")
    def test_lost_lease_cannot_release_for_later(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        lost = take(hasty)
        theirs = take(other)
        assert hasty.release(lost.ack_id, delay=DELAY_SECONDS) is False
        for _ in range(3):
            assert other.renew([theirs.ack_id]) == []
            assert nothing_comes(hasty, within=DELAY_SECONDS / 2)
        assert other.acknowledge(theirs.ack_id) is not False

    @needs("supports_renewal")
    def test_lost_lease_cannot_expire(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        lost = take(hasty)
        theirs = take(other)
        told = hasty.expire(lost.ack_id)
        assert told is False or type(hasty).expire is Broker.expire
        assert nothing_comes(hasty)
        assert other.acknowledge(theirs.ack_id) is not False

    @needs("supports_renewal")
    def test_lost_lease_is_known(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        lost = take(hasty)
        theirs = take(other)
        assert hasty.is_lost(lost) is True
        assert other.is_lost(theirs) is False
        assert other.acknowledge(theirs.ack_id) is not False

    @needs("supports_renewal")
    def test_lost_lease_cannot_dead_letter(self, hasty: Broker, other: Broker) -> None:
        hasty.enqueue("package")
        lost = take(hasty)
        theirs = take(other)
        hasty.move_to_dead_letters(lost)
        assert other.dead_size() == 0
        assert other.acknowledge(theirs.ack_id) is not False


class ReleasePromises(Suite):
    """Released packages are delivered again, at once or after a delay."""

    @needs("supports_renewal")
    def test_released_package_is_redelivered_at_once(self, broker: Broker, other: Broker) -> None:
        broker.enqueue("package")
        assert broker.release(take(broker).ack_id) is not False
        assert text(take(other).package) == "package"

    @needs("supports_renewal")
    def test_many_are_released(self, broker: Broker, other: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        assert broker.release_many([found.ack_id for found in take_many(broker, 3)]) == []
        assert sorted(text(found.package) for found in take_many(other, 3)) == ["one", "three", "two"]

    @needs("supports_renewal", "in_order")
    def test_released_packages_keep_their_place(self, broker: Broker) -> None:
        broker.enqueue_many(["one", "two", "three"])
        broker.release_many([found.ack_id for found in take_many(broker, 2)])
        assert [text(found.package) for found in take_many(broker, 3)] == ["one", "two", "three"]

    @needs("supports_delay")
    def test_delayed_package_is_overtaken(self, broker: Broker) -> None:
        broker.enqueue("later", delay=1)
        broker.enqueue("now")
        assert [text(found.package) for found in take_many(broker, 2)] == ["now", "later"]
