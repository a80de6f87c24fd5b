"""Groups in the cache are correct with concurrent writers, and do not grow without limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import cache as default_cache
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django_q.results.groups import CachedGroups, Member, PlaceRange


class Counting(LocMemCache):
    """Counts its reads."""

    def __init__(self) -> None:
        super().__init__(f"counting-{id(self)}", {"OPTIONS": {"MAX_ENTRIES": 10_000}})
        self.asked = 0

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().get(*args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().add(*args, **kwargs)


@pytest.fixture
def members() -> CachedGroups:
    return CachedGroups(LocMemCache("members", {"OPTIONS": {"MAX_ENTRIES": 10_000}}), "q")


@pytest.fixture(autouse=True)
def empty(members) -> None:
    members.cache.clear()


def some(*ids: object, success: bool = True) -> list[Member]:
    return [Member(str(each), success) for each in ids]


def test_members_are_read_in_the_order_they_came(members) -> None:
    members.add({"g": some(1, 2)}, None)
    members.add({"g": some(3), "other": some(4)}, None)
    assert members.read("g") == some(1, 2, 3)
    assert members.read("other") == some(4)


def test_unknown_group_is_empty(members) -> None:
    assert members.read("g") == []
    assert members.count_at_most("g") == 0


def test_task_that_finishes_again_is_one_member(members) -> None:
    members.add({"g": some(1, success=False)}, None)
    members.add({"g": some(2)}, None)
    members.add({"g": some(1)}, None)
    assert members.read("g") == some(1, 2)


def test_many_members_are_all_read(members) -> None:
    for start in range(0, 1200, 100):
        members.add({"g": some(*range(start, start + 100))}, None)
    assert members.read("g") == some(*range(1200))
    assert members.count_at_most("g") == 1200


def test_overwritten_head_loses_no_member(members) -> None:
    members.add({"g": some(1, 2)}, None)
    stale = members.cache.get(members.head_key("g"))
    members.add({"g": some(*range(3, 30))}, None)
    members.cache.set(members.head_key("g"), stale, None)
    assert len(members.read("g")) == 29
    assert members.count_at_most("g") == 29
    members.add({"g": some("new")}, None)
    assert members.read("g")[-1] == Member("new", success=True)


def test_evicted_head_loses_no_member(members) -> None:
    members.add({"g": some(*range(20))}, None)
    members.cache.delete(members.head_key("g"))
    members.add({"g": some(20)}, None)
    assert members.read("g") == some(*range(21))


def test_labels_may_hold_anything(members) -> None:
    members.add({"a group: 100 %\nñ": some(1)}, None)
    assert members.read("a group: 100 %\nñ") == some(1)


def test_deleted_group_begins_again(members) -> None:
    members.add({"g": some(1, 2)}, None)
    members.delete("g")
    assert members.read("g") == []
    members.add({"g": some(3)}, None)
    assert members.read("g") == some(3)


def test_expired_members_leave_the_group(members) -> None:
    members.add({"g": some(1)}, None)
    members.add({"g": some(2)}, 60)
    members.cache.delete(members.place_key("g", 2))
    assert members.read("g") == some(1)


def test_head_lives_as_long_as_its_last_member(members) -> None:
    members.add({"g": some(1)}, 1000)
    members.add({"g": some(2)}, 10)
    head = PlaceRange(*members.cache.get(members.head_key("g")))
    assert members.cache._expire_info[members.cache.make_key(members.head_key("g"))] >= head.until
    members.add({"g": some(3)}, None)
    members.add({"g": some(4)}, 10)
    assert PlaceRange(*members.cache.get(members.head_key("g"))).until is None


def test_long_lived_group_does_not_grow(members) -> None:
    for start in range(0, 3000, 10):
        members.add({"g": some(*range(start, start + 10))}, 60)
        for place in range(start - 40, start - 30):
            members.cache.delete(members.place_key("g", place))
    assert members.count_at_most("g") < 100
    assert set(some(*range(2990, 3000))) <= set(members.read("g"))


def test_member_costs_the_same_however_many_there_are() -> None:
    members = CachedGroups(Counting(), "q")
    costs = []
    for number in range(1000):
        before = members.cache.asked
        members.add({"g": some(number)}, None)
        costs.append(members.cache.asked - before)
    assert max(costs) == max(costs[:10])


def test_evicted_head_of_a_large_group_costs_few_reads(members, monkeypatch) -> None:
    members.add({"g": some(*range(4000))}, None)
    members.cache.delete(members.head_key("g"))
    asked = []
    add = members.cache.add
    monkeypatch.setattr(members.cache, "add", lambda *arguments: asked.append(1) or add(*arguments))
    members.add({"g": some("new")}, None)
    assert len(asked) < 30
    assert len(members.read("g")) == 4001


def test_cache_outage_while_adding_loses_no_member(members, monkeypatch) -> None:
    members.add({"g": some(*range(10))}, None)
    get_many, answers = members.cache.get_many, iter([True, False])  # to the head, and to what has expired
    with monkeypatch.context() as patch:
        patch.setattr(members.cache, "get_many", lambda keys: get_many(keys) if next(answers) else {})
        members.add({"g": some(10)}, None)
    assert len(members.read("g")) == 11


def test_concurrent_writers_lose_no_member(members) -> None:
    def write(writer: int) -> None:
        for number in range(100):
            members.add({"g": some(f"{writer}-{number}")}, None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(members.read("g")) == 800
    assert members.count_at_most("g") >= 800


# other caches


def exercise(members: CachedGroups) -> None:
    members.add({"g": some(1, 2), "h": some(3)}, None)
    members.add({"g": some(4, success=False)}, 60)
    assert members.read("g") == [*some(1, 2), *some(4, success=False)]
    members.delete("g")
    assert members.read("g") == []


def test_groups_in_the_file_based_cache() -> None:
    default_cache.clear()
    exercise(CachedGroups(default_cache, "q"))


@pytest.mark.django_db
def test_groups_in_the_database_cache(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cached"}}
    call_command("createcachetable", verbosity=0)
    exercise(CachedGroups(caches["default"], "q"))


def test_groups_in_redis(settings, redis_url) -> None:
    pytest.importorskip("redis")
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_url}}
    exercise(CachedGroups(caches["default"], "q"))


def test_concurrent_writers_lose_no_member_in_redis(settings, redis_url) -> None:
    pytest.importorskip("redis")
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis_url}}

    def write(writer: int) -> None:
        for number in range(0, 100, 5):
            group = some(*(f"{writer}-{number + each}" for each in range(5)))
            CachedGroups(caches["default"], "q").add({"g": group}, None)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert len(CachedGroups(caches["default"], "q").read("g")) == 600
