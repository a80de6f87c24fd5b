"""Cached results in a memcached server, with labels of any form."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django_q.brokers.stats import CacheStats
from django_q.tasks import (
    async_chain,
    async_iter,
    async_task,
    count_group,
    delete_group,
    fetch,
    fetch_group,
    result,
    result_group,
)

pytestmark = pytest.mark.django_db

LABELS = ["plain", "two words", "日" * 40, "x" * 300, "line\nbreak", "nul\0", "\ud800", 42, "a:b/c%d"]


@pytest.fixture(params=["usual", "a name of its own: 日"])
def memcached_turns(memcached_server, settings, make_turns, request):
    """A cluster whose cache is a memcached, and whose queue may have a name with any characters."""
    pytest.importorskip("pymemcache")
    memcached_server.start()
    memcached_server.flush()
    location = memcached_server.address
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": location}
    }
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"name": request.param, "cached": True}
    yield make_turns()
    cache.close()


@pytest.mark.parametrize("label", LABELS, ids=lambda label: ascii(label)[:12])
def test_any_group_is_kept_and_found(memcached_turns, label):
    ids = [async_task("math.floor", number + 0.5, group=label) for number in range(3)]
    memcached_turns.all(3)
    assert [result(each) for each in ids] == [0, 1, 2]
    assert result_group(label, count=3, wait=1000) == [0, 1, 2]
    assert {task.id for task in fetch_group(label)} == set(ids)
    assert count_group(label) == 3
    assert delete_group(label) == 3
    assert fetch(ids[0]) is None
    assert count_group(label) == 0


def test_chains_and_iters_work(memcached_turns):
    group = async_chain([("math.floor", (1.5,)), ("math.floor", (2.5,))], group="two words")
    iter_id = async_iter("math.floor", [1.5, 2.5], group="日本", task_name="x" * 300)
    memcached_turns.all()
    assert result_group(group) == [1, 2]
    assert result(iter_id) == [1, 2]


def test_statistics_of_a_cluster_with_any_name_are_kept(memcached_turns):
    stats = CacheStats(cache, "django_q:two words")
    stats.set("django_q:two words:one", "first", 60)
    stats.set("django_q:two words:two", "second", 60)
    assert stats.get("django_q:two words:one") == "first"
    assert stats.all("django_q:two words:*") == ["first", "second"]
