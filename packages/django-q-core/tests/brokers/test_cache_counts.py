"""Counts in caches, and caches that fail."""

from __future__ import annotations

import threading

import pytest
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django_q.brokers import cache_counts
from django_q.brokers.cache_counts import CacheCounts
from django_q.caches.calls import CacheCalls


class Failing(LocMemCache):
    def __init__(self):
        super().__init__("failing", {})
        self.asked = 0

    def get_many(self, keys, version=None):
        self.asked += 1
        raise ConnectionError("connection refused")

    delete_many = get_many


@pytest.fixture
def cache():
    cache = LocMemCache("counts", {})
    cache.clear()
    return cache


def counts_in(cache, queue="queue", kind="deliveries"):
    return CacheCounts(lambda: cache, lambda: queue, kind)


def test_counts_are_added_up_and_shared(cache):
    counts = counts_in(cache)
    assert counts.add(["one", "two"]) == {"one": 1, "two": 1}
    assert counts_in(cache).add(["one"], 3) == {"one": 4}
    assert counts.read(["one", "two", "three"]) == {"one": 4, "two": 1}


def test_queues_and_kinds_have_separate_counts(cache):
    counts_in(cache).add(["one"])
    assert counts_in(cache, queue="another").read(["one"]) == {}
    assert counts_in(cache, kind="releases").read(["one"]) == {}


def test_deleted_counts_start_again(cache):
    counts = counts_in(cache)
    counts.add(["one", "two"])
    counts.forget(["one"])
    assert counts.add(["one", "two"]) == {"one": 1, "two": 2}


def test_cache_is_not_used_without_names():
    counts = counts_in(cache := Failing())
    assert (counts.read([]), counts.add([]), counts.forget([])) == ({}, {}, None)
    assert cache.asked == 0


@pytest.mark.parametrize("cache", [None, DummyCache("dummy", {})])
def test_without_a_cache_there_are_no_counts(cache):
    counts = counts_in(cache)
    counts.add(["one"])
    assert counts.read(["one"]) == {}


def test_cache_that_fails_is_reported_and_not_used_for_a_while(caplog, monkeypatch):
    counts = counts_in(cache := Failing())
    assert counts.add(["one"]) == {}
    assert counts.read(["one"]) == {}
    counts.forget(["one"])
    assert cache.asked == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    monkeypatch.setattr(cache_counts.time, "monotonic", lambda: counts._resume_at)
    assert counts.read(["one"]) == {}
    assert cache.asked == 2


class Silent(LocMemCache):
    """A cache that ignores errors."""

    def get_many(self, keys, version=None):
        return None

    def set_many(self, data, timeout=None, version=None):
        return None


def test_cache_that_ignores_errors_is_reported_and_not_used(caplog):
    counts = counts_in(Silent("silent", {}))
    assert counts.add(["one"]) == {}
    assert counts.add(["one"]) == {}
    assert counts.read(["one"]) == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_cache_that_rejects_a_count_is_not_used_for_a_while(cache, caplog, monkeypatch):
    monkeypatch.setattr(cache, "set_many", lambda data, timeout: list(data))
    assert counts_in(cache).add(["one"]) == {}
    assert "not kept" in caplog.text


def test_slow_cache_is_not_used_for_a_while(cache, caplog, monkeypatch):
    counts = counts_in(cache)
    monkeypatch.setattr(cache_counts, "SLOW_SECONDS", 0)
    assert counts.add(["one"]) == {"one": 1}
    assert counts.add(["one"]) == {}
    assert "it took" in caplog.text


def test_evicted_count_starts_again(cache):
    counts = counts_in(cache)
    counts.add(["one"])
    cache.clear()
    assert counts.add(["one"]) == {"one": 1}
    assert counts.read(["two"]) == {}


def test_cache_without_reply_is_not_used_for_a_while(cache, caplog, monkeypatch):
    answer, calls = threading.Event(), CacheCalls()
    calls.limit(timeout=0.05)
    monkeypatch.setattr(cache_counts, "CALLS", calls)
    monkeypatch.setattr(cache, "get_many", lambda _: answer.wait())
    counts = counts_in(cache)
    assert counts.add(["one"]) == {}
    assert counts.add(["one"]) == {}
    assert "no answer within 0.05 s" in caplog.text
    assert len(caplog.records) == len(calls.stuck) == 1
    answer.set()
