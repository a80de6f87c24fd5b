from __future__ import annotations

import pytest
from django_q.brokers import BulkBroker, Delivery
from django_q.settings import ClusterSettings


class Minimal(BulkBroker):
    """The methods that an author must write, except `enqueue` and `renew`."""

    leased = ("held",)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        return [Delivery(ack_id, "package") for ack_id in self.leased[:limit]]

    def acknowledge_many(self, ack_ids: list[str]) -> list[str]:
        return [ack_id for ack_id in ack_ids if ack_id not in self.leased]

    def release_many(self, ack_ids: list[str], delay: float = 0) -> list[str]:
        return self.acknowledge_many(ack_ids)


@pytest.mark.parametrize("method", ["acknowledge", "delete", "release"])
def test_one_package_is_a_bulk_of_one(method: str):
    settle = getattr(Minimal("test"), method)
    assert settle("held") is True
    assert settle("lost") is False


def test_old_method_gives_nothing_from_an_empty_queue():
    broker = Minimal("test")
    assert broker.dequeue() == [("held", "package")]
    broker.leased = ()
    assert broker.dequeue() is None


def test_it_says_what_it_does():
    assert (Minimal.supports_receipts, Minimal.supports_bulk, Minimal.supports_renewal) == (True, True, True)
    assert not Minimal.supports_dead_letters


@pytest.mark.parametrize(("settings", "wanted"), [({}, 20), ({"bulk": 5}, 5), ({"bulk": 50}, 20)])
def test_fetch_takes_what_there_is_room_for_and_no_more_than_a_bulk_that_was_set(settings: dict, wanted: int):
    assert Minimal("test", settings=ClusterSettings(**settings)).wanted(20) == wanted
