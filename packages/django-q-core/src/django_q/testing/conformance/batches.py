"""Promises about large batches: they have the effect of single calls."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from django_q.testing.eventually import eventually

from .suite import DELAY_SECONDS, MAX_MEASUREMENTS, TIMEOUT_SECONDS, Suite, needs, nothing_comes, take_many, text

if TYPE_CHECKING:
    from django_q.brokers import Broker, Delivery


class LargeBatchPromises(Suite):
    """A batch may need more than one request."""

    @needs("beside_leases")
    def test_large_batch_arrives(self, broker: Broker) -> None:
        sent = numbered(self.large_batch)
        broker.enqueue_many(sent)
        eventually(lambda: broker.queue_size() == self.large_batch, TIMEOUT_SECONDS)
        arrived = texts(take_many(broker, self.large_batch))
        assert (arrived if self.in_order else sorted(arrived)) == sent
        assert nothing_comes(broker)

    @needs("supports_renewal", "beside_leases")
    def test_large_batch_is_settled(self, broker: Broker, other: Broker) -> None:
        """Renew and release all packages, fetch them again in their order, and acknowledge them."""
        sent = numbered(self.large_batch)
        broker.enqueue_many(sent)
        first = [each.ack_id for each in take_many(broker, self.large_batch)]
        assert broker.renew(first) == []
        assert broker.release_many(first) == []
        again = take_many(other, self.large_batch)
        assert (texts(again) if self.in_order else sorted(texts(again))) == sent
        leased = [each.ack_id for each in again]
        assert other.acknowledge_many(leased) == []
        if broker.supports_lock_size:
            eventually(lambda: broker.lock_size() == 0, TIMEOUT_SECONDS)
        if self.promises("test_acknowledging_twice_is_harmless"):
            assert other.acknowledge_many(leased) == leased

    @needs("supports_renewal", "beside_leases")
    def test_each_lease_of_many_is_renewed(self, hasty: Broker, other: Broker) -> None:
        """Renew after half of the lease. The lease is longer if the requests take longer."""
        kept, sent = False, numbered(min(self.large_batch, self.large_lease_batch))
        for _ in range(MAX_MEASUREMENTS):
            hasty.delete_queue()
            hasty.enqueue_many(sent)
            began, lease = time.monotonic(), hasty.settings.retry
            leased = [each.ack_id for each in take_many(hasty, len(sent))]
            time.sleep(max(began + lease / 2 - time.monotonic(), 0))
            renewed_at = time.monotonic()
            lost = hasty.renew(leased)
            if time.monotonic() < began + lease * 0.9:
                assert lost == []
                kept = nothing_comes(other, within=began + lease * 1.3 - time.monotonic())
                if kept or time.monotonic() < renewed_at + lease:
                    break
            self.with_lease(hasty, math.ceil(2 * (time.monotonic() - began)))
        assert kept

    @needs("supports_renewal", "supports_delay", "beside_leases")
    def test_each_of_many_is_released_for_later(self, broker: Broker, other: Broker) -> None:
        """Expect the second attempt of each package, although the leases would last longer than the test."""
        sent = numbered(min(self.large_batch, self.large_lease_batch))
        broker.enqueue_many(sent)
        leased = [each.ack_id for each in take_many(broker, len(sent))]
        assert broker.release_many(leased, DELAY_SECONDS) == []
        again = take_many(other, len(sent))
        assert sorted(texts(again)) == sent
        assert {each.attempt for each in again} == {2}

    @needs("supports_renewal", "beside_leases")
    def test_lost_leases_of_a_batch_are_reported(self, broker: Broker) -> None:
        sent = numbered(min(self.large_batch, self.large_lease_batch))
        broker.enqueue_many(sent)
        leased = [each.ack_id for each in take_many(broker, len(sent))]
        done = leased[::3]
        kept = [each for position, each in enumerate(leased) if position % 3]
        assert broker.acknowledge_many(done) == []
        if self.promises("test_acknowledging_twice_is_harmless"):
            assert broker.acknowledge_many(leased) == done
        else:
            assert broker.acknowledge_many(kept) == []

    @needs("supports_dead_letters")
    def test_many_dead_letters_are_requeued(self, broker: Broker) -> None:
        sent = numbered(self.large_batch)
        broker.enqueue_many(sent)
        for found in take_many(broker, self.large_batch):
            broker.move_to_dead_letters(found)
        assert broker.requeue_dead() == self.large_batch
        again = texts(take_many(broker, self.large_batch))
        assert (again if self.in_order else sorted(again)) == sent


def numbered(count: int) -> list[str]:
    """Return packages that sort in their order."""
    return [f"package {number:04}" for number in range(count)]


def texts(found: list[Delivery]) -> list[str]:
    """Return the packages of deliveries."""
    return [text(each.package) for each in found]
