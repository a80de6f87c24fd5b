"""A product counts deliveries; what was given back is taken off."""

from __future__ import annotations

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django_q.brokers.counted import CountedBroker, Lease


class Counting(CountedBroker):
    """A product whose messages are `one` and `two`, both leased, and which knows nothing of any other."""

    cache = LocMemCache("counted", {})

    def __init__(self, list_key: str = "test") -> None:
        super().__init__(list_key)
        self.offered: list[tuple[list[str], float]] = []

    def offer_again(self, ack_ids: list[str], delay: float) -> list[str]:
        self.offered.append((list(ack_ids), delay))
        return [ack_id for ack_id in ack_ids if Lease.of(ack_id).message not in {"one", "two"}]


@pytest.fixture(autouse=True)
def _empty():
    Counting.cache.clear()


def deliveries(broker, **received):
    """How often these messages were delivered, of which the product says how often it did so."""
    handed = broker.hand_out([(Lease(count, message, "receipt"), message) for message, count in received.items()])
    return {delivery.package: broker.deliveries(delivery.ack_id) for delivery in handed}


def test_lease_is_read_back_from_what_was_handed_out():
    assert Lease(2, "one", "r:1:x").ack_id == "2:one:r:1:x"
    assert Lease.of("2:one:r:1:x") == (2, "one", "r:1:x")


def test_message_is_handed_out_with_its_receipt():
    assert Counting().hand_out([(Lease(1, "one", "r1"), "package")]) == [("1:one:r1", "package")]


def test_what_is_given_back_at_once_was_not_delivered():
    broker = Counting()
    assert broker.release_many(["1:one:r1", "1:lost:r2"]) == ["1:lost:r2"]
    assert deliveries(Counting(), one=2, two=2, lost=2) == {"one": 1, "two": 2, "lost": 2}


def test_what_was_offered_for_later_or_lapsed_was_delivered():
    broker = Counting()
    assert broker.release_many(["1:one:r1"], 60) == []
    assert broker.lapse("1:two:r2") is True
    assert broker.lapse("1:lost:r3") is False
    assert broker.offered == [(["1:one:r1"], 60), (["1:two:r2"], 0), (["1:lost:r3"], 0)]
    assert deliveries(broker, one=2, two=2) == {"one": 2, "two": 2}


def test_messages_of_another_queue_are_others():
    Counting("test").release_many(["1:one:r1"])
    assert deliveries(Counting("another"), one=2) == {"one": 2}
