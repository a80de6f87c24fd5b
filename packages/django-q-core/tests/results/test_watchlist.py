"""A monitor finds the iters that are not collated yet, whoever has sent them or begun to count their members."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django_q.package import new_id
from django_q.results import watchlist as module
from django_q.results.cache import CacheResults
from django_q.results.unavailable import ResultsUnavailable
from django_q.results.watchlist import Watched, Watchlist

SAID = {"func": "math.floor"}


@pytest.fixture
def watchlist(settings_of):
    cache.clear()
    yield Watchlist(CacheResults(settings_of(name="watched"), "watched"))
    cache.clear()


@pytest.fixture
def crowded(watchlist, monkeypatch):
    """A watch list of few places."""
    monkeypatch.setattr(module, "TABLES", (4, 20, 400))
    return watchlist


def names(watchlist) -> set[str]:
    return set(watchlist.read())


def test_nothing_is_watched_at_first(watchlist) -> None:
    assert watchlist.read() == {}


def test_iters_are_watched_until_they_are_collated(watchlist) -> None:
    watchlist.add(Watched("a", 3, SAID))
    watchlist.begin({"b": 1})
    watchlist.begin({"a": 3})  # one of its members has finished
    watchlist.begin({"a": 3})  # another monitor has seen that too
    assert watchlist.read() == {"a": Watched("a", 3), "b": Watched("b", 1)}
    watchlist.remove(["a", "never heard of"])
    assert (watchlist.has("a"), watchlist.has("b")) == (False, True)
    assert watchlist.read() == {"b": Watched("b", 1)}


def test_iter_is_watched_again(watchlist) -> None:
    watchlist.begin({"a": 3})
    watchlist.remove(["a"])
    watchlist.begin({"a": 3})
    assert names(watchlist) == {"a"}


def test_what_is_not_watched_any_more_is_not_replaced(watchlist) -> None:
    watchlist.add(Watched("a", 3, SAID, float("inf")))
    watchlist.replace(Watched("a", 3, SAID))
    assert watchlist.read() == {"a": Watched("a", 3, SAID)}
    watchlist.remove(["a"])
    watchlist.replace(Watched("a", 3, SAID))
    assert watchlist.read() == {}


def test_many_iters_find_their_places(crowded) -> None:
    ids = [new_id() for _ in range(60)]
    for iter_id in ids:
        crowded.add(Watched(iter_id, 1, SAID))
    assert names(crowded) == set(ids)
    crowded.begin(dict.fromkeys(ids, 1))
    assert {each.said for each in crowded.read().values()} == {None}
    crowded.remove(ids[:50])
    assert names(crowded) == set(ids[50:])
    crowded.remove(ids)
    assert crowded.read() == {}


def test_list_that_is_full_says_so_and_loses_nobody(crowded, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "TABLES", (1, 1))
    for iter_id in "abc":
        crowded.add(Watched(iter_id, 1, SAID))
    assert names(crowded) == {"a", "b"}
    assert "c is not watched" in caplog.text


def test_crowd_that_has_gone_costs_nothing(crowded, monkeypatch) -> None:
    asked: list[int] = []
    get_many = cache.get_many
    monkeypatch.setattr(cache, "get_many", lambda keys: asked.append(len(keys)) or get_many(keys))
    crowded.read()
    assert asked == [4 + 2]


def test_group_of_that_name_is_another(watchlist) -> None:
    watchlist.add(Watched("a", 3, SAID))
    assert watchlist.cache.read_members("open") == []
    assert watchlist.cache.read_members("open:0") == []


def test_cache_that_is_away_says_so(watchlist, monkeypatch) -> None:
    def away(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(type(cache._connections["default"]), "get_many", away)
    with pytest.raises(ResultsUnavailable):
        watchlist.read()


def test_watchlist_in_redis_asks_once_for_each_iter_that_is_sent(settings, settings_of, redis_url, monkeypatch) -> None:
    redis = pytest.importorskip("redis")
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_url}}
    client, sent = redis.Redis.from_url(redis_url), []
    watched = Watchlist(CacheResults(settings_of(name="watched"), "watched"))
    execute = redis.Redis.execute_command
    with monkeypatch.context() as patch:
        patch.setattr(
            redis.Redis, "execute_command", lambda *args, **options: sent.append(1) or execute(*args, **options)
        )
        watched.add(Watched("a", 3, SAID, float("inf")))
        assert len(sent) == 1
        watched.read()
        assert len(sent) == 2
    (key,) = client.keys("*watched:open*")
    assert 0 < client.ttl(key) <= module.KEPT
    watched.begin({"a": 3, "b": 1})
    assert watched.read() == {"a": Watched("a", 3), "b": Watched("b", 1)}
    watched.remove(["a", "b"])
    assert (watched.read(), client.keys("*watched:open*")) == ({}, [])
