from __future__ import annotations

import pytest
from django_q.brokers import BulkBroker, Delivery
from django_q.settings import ClusterSettings


class Minimal(BulkBroker):
    """A broker with the required methods except `enqueue` and `renew`."""

    leased = ("held",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        return [Delivery(ack_id, "package") for ack_id in self.leased[:limit]]

    def acknowledge_many(self, ack_ids: list[str]) -> list[str]:
        return [ack_id for ack_id in ack_ids if ack_id not in self.leased]

    def release_many(self, ack_ids: list[str], delay: float = 0) -> list[str]:
        return self.acknowledge_many(ack_ids)


@pytest.mark.parametrize("method", ["acknowledge", "delete", "release"])
def test_one_package_is_a_batch_of_one(method: str):
    settle = getattr(Minimal("test"), method)
    assert settle("held") is True
    assert settle("lost") is False


def test_dequeue_returns_none_for_an_empty_queue():
    broker = Minimal("test")
    assert broker.dequeue() == [("held", "package")]
    broker.leased = ()
    assert broker.dequeue() is None


def test_capabilities_are_declared():
    assert (Minimal.supports_receipts, Minimal.supports_bulk, Minimal.supports_renewal) == (True, True, True)
    assert not Minimal.supports_dead_letters


@pytest.mark.parametrize(("settings", "wanted"), [({}, 20), ({"bulk": 5}, 5), ({"bulk": 50}, 20)])
def test_size_of_a_fetch_is_limited_by_bulk(settings: dict, wanted: int):
    assert Minimal("test", settings=ClusterSettings(**settings)).wanted(20) == wanted
