from __future__ import annotations

import pytest
from django_q.brokers.bands import BANDS, Band, BandOrder, band_name_problem, bands_of, queue_of


@pytest.mark.parametrize(("priority", "band"), [(-100, "low"), (-1, "low"), (0, "normal"), (1, "high"), (100, "high")])
def test_priority_has_a_band(priority: int, band: str):
    assert Band.of(priority) == band


@pytest.mark.parametrize(
    ("name", "queues"),
    [
        ("mail", ["mail--top", "mail", "mail--low"]),
        ("mail.fifo", ["mail--top.fifo", "mail.fifo", "mail--low.fifo"]),
    ],
)
def test_each_band_has_a_queue(name: str, queues: list[str]):
    assert [queue_of(name, band) for band in BANDS] == queues


@pytest.mark.parametrize("name", ["mail-dead", "mail-dead.fifo"])
def test_dead_letters_have_no_bands(name: str):
    assert bands_of(name) == (Band.NORMAL,)
    assert bands_of("mail") == BANDS


def test_fair_fetch_begins_with_the_lower_bands_in_turn():
    order = BandOrder()
    assert order.next(fair=False) == (Band.HIGH, Band.NORMAL, Band.LOW)
    assert order.next(fair=True) == (Band.NORMAL, Band.LOW, Band.HIGH)
    assert order.next(fair=False) == (Band.HIGH, Band.NORMAL, Band.LOW)
    assert order.next(fair=True) == (Band.LOW, Band.NORMAL, Band.HIGH)
    assert order.next(fair=True) == (Band.NORMAL, Band.LOW, Band.HIGH)


@pytest.mark.parametrize("name", ["mail--top", "mail--low", "mail--top.fifo", "a--low--top"])
def test_name_of_a_band_is_a_problem(name: str):
    assert "priorities" in (band_name_problem(name) or "")


@pytest.mark.parametrize("name", ["high", "low", "mail", "mail--topper", "mail--low-1", "mail.fifo"])
def test_other_names_are_no_problem(name: str):
    assert band_name_problem(name) is None
