"""What was given back is not counted as delivered, as far as the cache remembers."""

from __future__ import annotations

import pytest
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django_q.brokers.given_back import GivenBack


@pytest.fixture
def cache():
    cache = LocMemCache("given-back", {})
    cache.clear()
    return cache


class Away(LocMemCache):
    def get_many(self, keys, version=None):
        raise ConnectionError("nobody there")


def test_messages_given_back_were_not_delivered(cache):
    given_back = GivenBack(cache, "queue")
    given_back.remember(["one", "two"])
    GivenBack(cache, "queue").remember(["one"])
    received = {"one": 4, "two": 4, "three": 4}
    assert given_back.deliveries(received) == {"one": 2, "two": 3, "three": 4}
    assert GivenBack(cache, "another").deliveries(received) == received


def test_delivery_is_at_least_one(cache):
    given_back = GivenBack(cache, "queue")
    for _ in range(3):
        given_back.remember(["one"])
    assert given_back.deliveries({"one": 2}) == {"one": 1}


def test_first_deliveries_ask_nothing():
    assert GivenBack(Away("away", {}), "queue").deliveries({"one": 1}) == {"one": 1}


@pytest.mark.parametrize("cache", [None, DummyCache("dummy", {})])
def test_without_a_memory_each_receipt_is_a_delivery(cache):
    given_back = GivenBack(cache, "queue")
    given_back.remember(["one"])
    assert given_back.deliveries({"one": 2}) == {"one": 2}


def test_cache_that_is_away_is_no_error_but_a_warning(caplog):
    given_back = GivenBack(Away("away", {}), "queue")
    given_back.remember(["one"])
    assert given_back.deliveries({"one": 2}) == {"one": 2}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
