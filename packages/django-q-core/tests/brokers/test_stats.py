from __future__ import annotations

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from django_q.brokers import Broker
from django_q.brokers.stats import CacheStats
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings

KEY = "django_q:test:cluster"


@pytest.fixture
def cache():
    cache = LocMemCache("statistics", {})
    cache.clear()
    return cache


def test_cluster_of_another_version_is_found(cache):
    cache.set(f"{KEY}:theirs", "value", 3)
    cache.set(KEY, [f"{KEY}:theirs"])
    assert CacheStats(cache, KEY).all(f"{KEY}:*") == ["value"]


def test_list_can_be_read_by_other_versions(cache):
    CacheStats(cache, KEY).set(f"{KEY}:ours", "value", 3)
    assert cache.get(KEY) == [f"{KEY}:ours"]


def test_cluster_that_was_dropped_from_the_list_is_listed_again(cache):
    stats = CacheStats(cache, KEY)
    stats.set(f"{KEY}:ours", "value", 3)
    cache.set(KEY, [])
    stats.set(f"{KEY}:ours", "value", 3)
    assert stats.all(f"{KEY}:*") == ["value"]


def test_expired_clusters_are_removed_from_the_list(cache):
    stats = CacheStats(cache, KEY)
    stats.set(f"{KEY}:gone", "value", 3)
    cache.delete(f"{KEY}:gone")
    stats.set(f"{KEY}:ours", "value", 3)
    assert cache.get(KEY) == [f"{KEY}:ours"]


def test_without_a_cache_there_are_no_statistics():
    stats = CacheStats(None, KEY)
    stats.set(f"{KEY}:ours", "value", 3)
    assert (stats.get(f"{KEY}:ours"), stats.all(f"{KEY}:*")) == (None, [])


def test_statistics_of_a_cache_that_ignores_its_errors_are_none(cache, monkeypatch):
    stats = CacheStats(cache, KEY)
    stats.set(f"{KEY}:ours", "value", 3)
    for method in ("get", "get_many", "set"):
        monkeypatch.setattr(cache, method, lambda *_, **__: None)
    stats.set(f"{KEY}:ours", "value", 3)
    assert (stats.get(f"{KEY}:ours"), stats.all(f"{KEY}:*")) == (None, [])


LOCAL = {"local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


@override_settings(CACHES=LOCAL)
@pytest.mark.parametrize("arguments", [("set_stat", "a", "b", 3), ("get_stat", "a"), ("get_stats", "a*")])
def test_cache_that_is_unavailable_is_an_error_of_the_broker(monkeypatch, arguments):
    def fail(*_, **__):
        raise ConnectionError("connection refused")

    for each in ("get", "get_many", "set"):
        monkeypatch.setattr(LocMemCache, each, fail)
    broker = Broker(settings=ClusterSettings.from_mapping({"cache": "local"}))
    method, *more = arguments
    with pytest.raises(BrokerUnavailable, match=r"cache 'local'.*statistics.*connection refused"):
        getattr(broker, method)(*more)
