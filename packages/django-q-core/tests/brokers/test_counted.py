"""Attempt numbers from delivery counts of the product, without unstarted releases."""

from __future__ import annotations

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django_q.brokers.bands import Band
from django_q.brokers.counted import CountedBroker, Lease, Received, by_band


class Counting(CountedBroker):
    """A product with the leased messages `one` and `two` only."""

    cache = LocMemCache("counted", {})

    def __init__(self, list_key: str = "test") -> None:
        super().__init__(list_key)
        self.released: list[tuple[list[str], float]] = []

    def release_messages(self, ack_ids: list[str], delay: float) -> list[str]:
        self.released.append((list(ack_ids), delay))
        return [ack_id for ack_id in ack_ids if Lease.of(ack_id).message not in {"one", "two"}]


@pytest.fixture(autouse=True)
def _empty():
    Counting.cache.clear()


def attempts(broker, **counts):
    """Return the attempt numbers of messages with these delivery counts."""
    found = broker.deliveries_of([Received(Lease(name, "receipt"), name, count) for name, count in counts.items()])
    return {delivery.package: delivery.attempt for delivery in found}


def test_lease_is_decoded_from_its_ack_id():
    assert Lease("one", "r:1:x").ack_id == "one:r:1:x"
    assert Lease.of("one:r:1:x") == Lease("one", "r:1:x", Band.NORMAL)


@pytest.mark.parametrize("band", list(Band))
def test_ack_id_names_the_band(band: Band):
    assert Lease.of(Lease("one", "r:1/x", band).ack_id) == ("one", "r:1/x", band)


def test_ack_ids_are_grouped_by_band():
    assert by_band(["one:r1", "high/two:r2", "three:r3", "low/four:r4"]) == {
        Band.NORMAL: ["one:r1", "three:r3"],
        Band.HIGH: ["high/two:r2"],
        Band.LOW: ["low/four:r4"],
    }


def test_message_is_handed_out_with_its_receipt_and_attempt():
    assert Counting().deliveries_of([Received(Lease("one", "r1"), "package", 2)]) == [("one:r1", "package", 2)]


def test_release_before_the_start_is_no_attempt():
    broker = Counting()
    assert broker.release_many(["one:r1", "lost:r2"]) == ["lost:r2"]
    assert attempts(Counting(), one=2, two=2, lost=2) == {"one": 1, "two": 2, "lost": 2}


def test_release_with_a_delay_and_expiry_are_attempts():
    broker = Counting()
    assert broker.release_many(["one:r1"], 60) == []
    assert broker.expire("two:r2") is True
    assert broker.expire("lost:r3") is False
    assert broker.released == [(["one:r1"], 60), (["two:r2"], 0), (["lost:r3"], 0)]
    assert attempts(broker, one=2, two=2) == {"one": 2, "two": 2}


def test_queues_have_separate_messages():
    Counting("test").release_many(["one:r1"])
    assert attempts(Counting("another"), one=2) == {"one": 2}


def test_attempt_is_at_least_1():
    broker = Counting()
    for _ in range(3):
        broker.release_many(["one:r1"])
    assert attempts(broker, one=2) == {"one": 1}


def test_first_deliveries_do_not_use_the_cache(monkeypatch):
    monkeypatch.setattr(Counting, "cache", None)
    broker = Counting()
    monkeypatch.setattr(broker._releases, "_cache", lambda: pytest.fail("asked"))
    assert attempts(broker, one=1) == {"one": 1}
