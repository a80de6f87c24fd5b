from __future__ import annotations

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django_q.brokers.stats import CacheStats

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


def test_list_is_one_that_other_versions_read(cache):
    CacheStats(cache, KEY).set(f"{KEY}:ours", "value", 3)
    assert cache.get(KEY) == [f"{KEY}:ours"]


def test_cluster_that_was_dropped_from_the_list_is_listed_again(cache):
    stats = CacheStats(cache, KEY)
    stats.set(f"{KEY}:ours", "value", 3)
    cache.set(KEY, [])
    stats.set(f"{KEY}:ours", "value", 3)
    assert stats.all(f"{KEY}:*") == ["value"]


def test_clusters_that_ended_leave_the_list(cache):
    stats = CacheStats(cache, KEY)
    stats.set(f"{KEY}:gone", "value", 3)
    cache.delete(f"{KEY}:gone")
    stats.set(f"{KEY}:ours", "value", 3)
    assert cache.get(KEY) == [f"{KEY}:ours"]


def test_without_a_cache_there_are_no_statistics():
    stats = CacheStats(None, KEY)
    stats.set(f"{KEY}:ours", "value", 3)
    assert (stats.get(f"{KEY}:ours"), stats.all(f"{KEY}:*")) == (None, [])
