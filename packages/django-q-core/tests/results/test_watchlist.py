"""A monitor finds the iters that another has begun to watch."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django_q.results.cache import CacheResults
from django_q.results.unavailable import ResultsUnavailable
from django_q.results.watchlist import Watchlist


@pytest.fixture
def watchlist(settings_of):
    cache.clear()
    return Watchlist(CacheResults(settings_of(name="watched"), "watched"))


def test_nothing_is_watched_at_first(watchlist) -> None:
    assert watchlist.read() == {}


def test_iters_are_watched_until_they_are_collated(watchlist) -> None:
    watchlist.add({"a": 3, "b": 1})
    watchlist.add({"a": 3})  # another monitor has seen it too
    assert watchlist.read() == {"a": 3, "b": 1}
    watchlist.remove(["a"])
    assert (watchlist.has("a"), watchlist.has("b")) == (False, True)
    assert watchlist.read() == {"b": 1}


def test_iter_is_watched_again(watchlist) -> None:
    watchlist.add({"a": 3})
    watchlist.remove(["a"])
    watchlist.read()
    watchlist.add({"a": 3})
    assert watchlist.read() == {"a": 3}


def test_list_does_not_grow(watchlist) -> None:
    for number in range(300):
        watchlist.add({f"i{number}": 2, f"j{number}": 2})
        watchlist.remove([f"i{number}", f"j{number}"])
        if number % 20 == 0:
            watchlist.read()
    watchlist.read()
    assert watchlist._list.count_at_most("iters") < 100


def test_group_of_that_name_is_another(watchlist) -> None:
    watchlist.add({"a": 3})
    assert watchlist.cache.read_members("open") == []
    assert watchlist.cache.read_members("iters") == []


def test_cache_that_is_away_says_so(watchlist, monkeypatch) -> None:
    def away(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(type(cache._connections["default"]), "get_many", away)
    with pytest.raises(ResultsUnavailable):
        watchlist.read()
