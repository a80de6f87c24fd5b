"""Fetches from the queues of several bands."""

from __future__ import annotations

import pytest
from django_q.brokers import FAIR_FETCHES, Delivery
from django_q.brokers.banded import BandedBroker
from django_q.brokers.bands import Band

HIGH, NORMAL, LOW = Band


class Recording(BandedBroker):
    """A product with the packages in `queues`; a band without an entry has no queue."""

    def __init__(self, **queues: int) -> None:
        super().__init__("test")
        self.queues = {Band(name): count for name, count in queues.items()}
        self.polls: list[tuple[Band, int]] = []
        for band in Band:
            self.note_present(band)

    def longest_wait(self) -> float:
        return 20

    def receive(self, band: Band, limit: int, wait: int) -> list[Delivery] | None:
        self.polls.append((band, wait))
        if band not in self.queues:
            return [] if band is NORMAL else None
        taken = min(limit, self.queues[band])
        self.queues[band] -= taken
        return [Delivery(f"{number}", band) for number in range(taken)]

    def fetch(self, wait: float = 1.0) -> list[tuple[Band, int]]:
        """Fetch one package, and return the band and the wait of each request."""
        self.polls.clear()
        self.dequeue_many(1, wait)
        return list(self.polls)


@pytest.fixture(autouse=True)
def _awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_q.brokers.banded.time.sleep", lambda _seconds: None)


def test_missing_bands_are_asked_once():
    broker = Recording(normal=0)
    assert broker.fetch() == [(HIGH, 0), (NORMAL, 1), (LOW, 0)]
    assert [broker.fetch() for _ in range(FAIR_FETCHES)] == [[(NORMAL, 1)]] * FAIR_FETCHES


def test_band_that_a_process_has_created_is_asked_again():
    broker = Recording(normal=0)
    broker.fetch()
    broker.queues[LOW] = 1
    broker.note_present(LOW)
    assert broker.fetch() == [(NORMAL, 1), (LOW, 0)]


def test_first_band_with_a_package_ends_the_fetch():
    assert Recording(high=1, normal=1, low=1).fetch() == [(HIGH, 0)]


def test_low_band_is_asked_without_a_long_poll_while_it_has_packages():
    broker = Recording(high=0, normal=0, low=2)
    assert broker.fetch() == [(HIGH, 0), (NORMAL, 1), (LOW, 0)]
    assert broker.fetch() == [(HIGH, 0), (NORMAL, 0), (LOW, 0)]
    assert broker.fetch() == [(HIGH, 0), (NORMAL, 0), (LOW, 0), (HIGH, 0), (NORMAL, 1), (LOW, 0)]
    assert broker.fetch() == [(HIGH, 0), (NORMAL, 1), (LOW, 0)]


def test_long_wait_asks_all_bands_each_second():
    assert Recording(high=0, normal=0, low=0).fetch(3) == [(HIGH, 0), (NORMAL, 1), (LOW, 0)] * 3


def test_fetch_without_wait_asks_each_band_once():
    assert Recording(high=0, normal=0, low=0).fetch(0) == [(HIGH, 0), (NORMAL, 0), (LOW, 0)]


def test_fair_fetch_begins_with_a_lower_band():
    broker = Recording(high=99, normal=1, low=1)
    first = [broker.fetch()[-1][0] for _ in range(2 * FAIR_FETCHES)]
    assert [band for band in first if band is not HIGH] == [NORMAL, LOW]
    assert first.index(NORMAL) == FAIR_FETCHES - 1


def test_fair_fetch_takes_one_package_of_a_lower_band():
    broker = Recording(high=99, normal=9, low=9)
    fetches = [broker.dequeue_many(4, 0) for _ in range(FAIR_FETCHES + 1)]
    assert [each.package for each in fetches[FAIR_FETCHES - 1]] == [NORMAL]


def test_fair_fetch_without_lower_packages_takes_as_many_as_others():
    broker = Recording(high=99, normal=0, low=0)
    assert [len(broker.dequeue_many(4, 0)) for _ in range(FAIR_FETCHES)] == [4] * FAIR_FETCHES


def test_fair_fetch_without_bands_takes_as_many_as_others():
    broker = Recording(normal=0)
    broker.fetch()
    broker.queues[NORMAL] = 99
    assert [len(broker.dequeue_many(4, 0)) for _ in range(FAIR_FETCHES)] == [4] * FAIR_FETCHES
