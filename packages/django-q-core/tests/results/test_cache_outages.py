"""Results and caches that are unavailable with or without an error, that are small, and that evict."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from django.core.cache import cache, caches
from django.core.cache.backends.base import InvalidCacheKey
from django.core.cache.backends.locmem import LocMemCache
from django.utils.module_loading import import_string
from django_q.cluster.earlier_success import saved_success
from django_q.exceptions import ResultsUnavailable
from django_q.models import Task
from django_q.results.cache import CacheResults
from django_q.results.groups import CachedGroups, Member
from django_q.results.store import ResultStore
from django_q.results.waiting import MISSING
from django_q.testing import eventually
from django_q.wire.package import new_package

from tests.services import Proxy

SECONDS = 0.2
"""Timeout of the clients."""

PYMEMCACHE = {"timeout": SECONDS, "connect_timeout": SECONDS, "retry_timeout": 0, "dead_timeout": 0.1}
DJANGO_REDIS = {"SOCKET_TIMEOUT": SECONDS, "SOCKET_CONNECT_TIMEOUT": SECONDS}
CLIENTS = {
    "pymemcache": ("memcached", "django.core.cache.backends.memcached.PyMemcacheCache", PYMEMCACHE),
    "pymemcache that ignores errors": (
        "memcached",
        "django.core.cache.backends.memcached.PyMemcacheCache",
        PYMEMCACHE | {"ignore_exc": True},
    ),
    "redis": (
        "redis",
        "django.core.cache.backends.redis.RedisCache",
        {"socket_timeout": SECONDS, "socket_connect_timeout": SECONDS},
    ),
    "django-redis": ("redis", "django_redis.cache.RedisCache", DJANGO_REDIS),
    "django-redis that ignores errors": (
        "redis",
        "django_redis.cache.RedisCache",
        DJANGO_REDIS | {"IGNORE_EXCEPTIONS": True},
    ),
}


@pytest.fixture(params=CLIENTS)
def client(request):
    return request.param


@pytest.fixture
def proxy(request, client, settings):
    """Proxy between the default cache and its server."""
    product, backend, options = CLIENTS[client]
    pytest.importorskip({"pymemcache": "pymemcache", "redis": "redis"}.get(client.split()[0], "django_redis"))
    server = request.getfixturevalue(f"{product}_server")
    server.start()
    server.flush()
    with Proxy(server) as proxy:
        location = proxy.address if product == "memcached" else f"redis://{proxy.address}/0"
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}}
        yield proxy
        proxy.resume()
        cache.close()


@pytest.fixture
def results(settings_of):
    return CacheResults(settings_of(), "q")


@pytest.fixture
def cached(outcome, settings_of):
    """Make the outcome of a cached task."""
    codec = CacheResults(settings_of(), "q").codec

    def make(result=None, **fields):
        made = outcome(result, **{"cached": True} | fields)
        package = new_package("math.copysign", (1, -2), task_id=made.id, name=made.name, started=made.started)
        package |= {"result": result, "success": made.success, "stopped": made.stopped, "attempt_count": made.attempt}
        return made._replace(finished=codec.dumps(package | ({"group": made.group} if made.group else {})))

    return make


def break_down(proxy, how):
    if how == "stalled":
        proxy.stall()
    else:
        proxy.drop()
        proxy.cut()


def saved(results, outcomes):
    try:
        return results.save_many(outcomes)
    except ResultsUnavailable:
        return None


@pytest.mark.parametrize("how", ["stalled", "cut"])
def test_result_is_not_saved_before_the_cache_has_taken_it(proxy, results, cached, how):
    results.save_many([before := cached(1, group="g")])
    break_down(proxy, how)
    batches = [[cached(2, group="g")], [cached("oh", success=False)], [cached(3), cached(4)]]
    for batch in batches:
        with pytest.raises(ResultsUnavailable):
            results.save_many(batch)
    proxy.resume()
    for batch in batches:
        assert eventually(lambda batch=batch: saved(results, batch)) == batch
    fetched = [results.fetch(outcome.id)["result"] for batch in [[before], *batches] for outcome in batch]
    assert fetched == [1, 2, "oh", 3, 4]
    assert [package["result"] for package in results.fetch_group("g")] == [1, 2]


@pytest.mark.parametrize("how", ["stalled", "cut"])
def test_earlier_success_is_not_missing_during_a_cache_outage(proxy, results, cached, settings_of, how):
    results.save_many([outcome := cached(1)])
    package = {"id": outcome.id, "cached": True}
    assert saved_success(package | {"id": "another"}, settings_of(name="q")) is None
    break_down(proxy, how)
    with pytest.raises(ResultsUnavailable):
        saved_success(package, settings_of(name="q"))


@pytest.mark.parametrize("client", ["pymemcache", "pymemcache that ignores errors"], indirect=True)
def test_value_that_is_too_large_is_a_failure_at_once(proxy, results, cached, caplog):
    large = cached("x" * 2_000_000, group="g")
    outcomes = [cached(1, group="g"), large, cached(2, group="g")]
    first, failure, last = results.save_many(outcomes)
    assert (first, last) == (outcomes[0], outcomes[2])
    assert (failure.success, failure.final, failure.following) == (False, True, ())
    assert f"{len(large.finished):,} characters" in results.fetch(large.id)["result"]
    assert [package["success"] for package in results.fetch_group("g")] == [True, False, True]
    assert [record.levelname for record in caplog.records if record.name == "django-q"] == ["ERROR"]
    assert results.save_many([failure]) == [failure]


@pytest.mark.parametrize("client", ["pymemcache"], indirect=True)
def test_long_prefix_leaves_room_for_every_key(proxy, settings, settings_of, cached):
    settings.CACHES = {"default": settings.CACHES["default"] | {"KEY_PREFIX": "p" * 120}}
    results = CacheResults(settings_of(), "q" * 100)
    results.save_many([outcome := cached(1, group="g" * 100)])
    assert results.fetch(outcome.id)["result"] == 1
    assert len(results.fetch_group("g" * 100)) == 1
    assert results.delete_group("g" * 100) == 1


# caches of our own


class Fake(LocMemCache):
    """Cache with only the promises of Django's API."""

    keeps = staticmethod(lambda key, value: True)
    """Returns True if a value is stored; others are dropped without an error."""
    misses = frozenset()
    """Invalid keys."""
    answers = True

    def __init__(self, name, parameters):
        super().__init__(name, {"OPTIONS": {"MAX_ENTRIES": 10_000}} | parameters)
        self.clear()

    def make_and_validate_key(self, key, version=None):
        if any(text in key for text in self.misses):
            raise InvalidCacheKey(key)
        return super().make_and_validate_key(key, version)

    def set(self, key, value, *args, **kwargs):
        if self.answers and self.keeps(key, value):
            super().set(key, value, *args, **kwargs)

    def add(self, key, value, *args, **kwargs):
        return super().add(key, value, *args, **kwargs) if self.answers and self.keeps(key, value) else None

    def get(self, key, default=None, version=None):
        return super().get(key, default, version) if self.answers else default

    def get_many(self, keys, version=None):
        return super().get_many(keys, version) if self.answers else None

    def set_many(self, *args, **kwargs):
        super().set_many(*args, **kwargs)


@pytest.fixture
def fake(settings):
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.Fake"}}
    return caches["default"]


@pytest.fixture(autouse=True)
def no_other_fake(monkeypatch):
    monkeypatch.setattr("django.core.cache.import_string", _load)


def _load(path):
    module, _, name = path.rpartition(".")
    return globals()[name] if module == __name__ else import_string(path)


def test_member_of_a_cache_that_returns_none_is_not_waited_for(fake):
    fake.answers = False
    with pytest.raises(ResultsUnavailable):
        CachedGroups(fake, "q").add({"g": [Member("1", success=True)]}, None)
    assert CachedGroups(fake, "q").read("g") == []
    assert CachedGroups(fake, "q").count_at_most("g") == 0


def test_member_whose_answer_was_lost_takes_one_place(fake):
    members = CachedGroups(fake, "q")
    fake.add(members.place_key("g", 1), ("1", True), None)
    members.add({"g": [Member("1", success=True)]}, None)
    assert members.count_at_most("g") == 1


@pytest.mark.parametrize("success", [True, False])
def test_value_that_is_dropped_without_an_error_is_a_failure(fake, results, cached, success):
    fake.keeps = lambda key, value: len(value) < 1000
    (failure,) = results.save_many([outcome := cached("x" * 5000, success=success)])
    assert not failure.success
    assert failure.final is success
    assert "the cache rejects" in results.fetch(outcome.id)["result"]


@pytest.mark.django_db
def test_outcome_that_the_cache_takes_in_no_form_is_a_row(fake, settings_of, cached):
    outcome, other = cached(1), cached(2)
    fake.misses = frozenset({outcome.id})
    rejected, kept = ResultStore(settings_of(), "q").save_many([outcome, other])
    assert (rejected.success, rejected.cached, kept) == (False, False, other)
    assert "the cache rejects" in Task.objects.get(pk=outcome.id).result


@pytest.mark.django_db
def test_key_that_keeps_no_outcome_is_a_row(fake, settings_of, cached):
    fake.keeps = lambda key, value: len(value) < 50
    ResultStore(settings_of(), "q").save_many([outcome := cached(1)])
    assert not Task.objects.get(pk=outcome.id).success


def test_value_that_is_evicted_at_once_is_written_again(fake, results, cached):
    evictions = iter([True, False])
    get_many = fake.get_many
    fake.get_many = lambda keys: {} if next(evictions, False) else get_many(keys)
    assert results.save_many([outcome := cached(1)]) == [outcome]
    assert results.fetch(outcome.id)["result"] == 1


@pytest.mark.parametrize("success", [True, False])
def test_result_waits_while_the_cache_rejects_writes(fake, results, cached, success):
    results.save_many([earlier := cached("oh", success=False)])
    later = cached(1, id=earlier.id, success=success, attempt=2)
    fake.keeps = lambda key, value: False
    for _ in range(2):
        with pytest.raises(ResultsUnavailable):
            results.save_many([later])
    fake.keeps = lambda key, value: True
    assert results.save_many([later]) == [later]
    assert results.fetch(later.id)["result"] == 1


def test_failure_replaces_no_success_that_could_not_be_read(fake, results, cached):
    results.save_many([success := cached(1)])
    late = cached("late", id=success.id, success=False)
    answers = iter([False])
    get, get_many = fake.get, fake.get_many
    fake.get = lambda *key, **more: get(*key, **more) if next(answers, True) else None
    reads = iter([False])
    fake.get_many = lambda keys: get_many(keys) if next(reads, True) else {}
    assert results.save_many([late]) == [late]
    assert results.fetch(success.id)["result"] == 1


def test_look_ups_at_the_same_time_do_not_disturb_each_other(fake, results):
    add = fake.add
    others = iter([True])

    def add_during_another_look_up(*arguments):
        added = add(*arguments)
        if next(others, False):
            assert results.look_up("another") is MISSING
        return added

    fake.add = add_during_another_look_up
    assert results.look_up("one") is MISSING


def test_look_up_overwrites_no_success_that_it_did_not_find(fake, results, cached):
    results.save_many([outcome := cached(1)])
    answers = iter([False])
    get = fake.get
    fake.get = lambda *key, **more: get(*key, **more) if next(answers, True) else None
    assert results.look_up(outcome.id)["result"] == 1


def test_probe_is_no_task(fake, results, cached):
    fake.keeps = lambda key, value: len(value) < 50
    with suppress(ResultsUnavailable):
        results.save_many([outcome := cached(1, group="g")])
    fake.set(results.key(outcome.id), "?probe")
    assert results.fetch(outcome.id) is MISSING
    assert results.fetch_group("g") == []


def test_cache_smaller_than_a_batch_loses_the_oldest_only(settings, settings_of, cached):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": "small",
            "OPTIONS": {"MAX_ENTRIES": 20},
        }
    }
    results = CacheResults(settings_of(), "q")
    outcomes = [cached(number, group="g") for number in range(100)]
    assert results.save_many(outcomes) == outcomes
    assert len(results.fetch_group("g")) < 100
    assert results.delete_group("g") < 100
    cache.clear()


class Capricious(Fake):
    """Evicts, ignores errors or raises them, at random."""

    chance = random.Random(1)
    evicts = raises = drops = 0.0

    def _mishap(self):
        if self.chance.random() < self.evicts and self._cache:
            self._cache.pop(key := self.chance.choice(list(self._cache)))
            self._expire_info.pop(key, None)
        if self.chance.random() < self.raises:
            raise ConnectionError("reset by peer")
        return self.chance.random() < self.drops

    def set(self, *args, **kwargs):
        return None if self._mishap() else super().set(*args, **kwargs)

    def add(self, *args, **kwargs):
        return None if self._mishap() else super().add(*args, **kwargs)

    def get(self, *args, **kwargs):
        return None if self._mishap() else super().get(*args, **kwargs)

    def get_many(self, *args, **kwargs):
        return None if self._mishap() else super().get_many(*args, **kwargs)

    def delete_many(self, *args, **kwargs):
        return None if self._mishap() else super().delete_many(*args, **kwargs)


@pytest.mark.parametrize("mishaps", [{"raises": 0.03}, {"drops": 0.05}, {"raises": 0.02, "drops": 0.03}])
@pytest.mark.parametrize("evicts", [0.0, 0.1])
def test_capricious_cache_loses_only_what_it_evicts(settings, results, cached, mishaps, evicts):
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.Capricious"}}
    cache, chance = caches["default"], random.Random(2)
    cache.chance = random.Random(3)
    done = []
    for number in range(60):
        for name, likelihood in (mishaps | {"evicts": evicts}).items():
            setattr(cache, name, likelihood)
        batch = [
            cached(number, group=chance.choice(["g", None]), success=chance.random() < 0.8)
            for _ in range(chance.randint(1, 5))
        ]
        done += eventually(lambda batch=batch: saved(results, batch))
        for ask in (results.fetch_group, results.read_members, results.count_at_most):
            with suppress(ResultsUnavailable):
                ask("g")
        cache.evicts = cache.raises = cache.drops = 0.0
        kept = [results.fetch(outcome.id) for outcome in batch]
        if not evicts:
            assert [package["success"] for package in kept] == [outcome.success for outcome in done[-len(batch) :]]
    if not evicts:
        assert {package["id"] for package in results.fetch_group("g")} == {each.id for each in done if each.group}
        assert not [outcome for outcome in done if "the cache rejects" in (outcome.error or "")]
    results.delete_group("g")


def test_dummy_cache_keeps_nothing_on_purpose(settings, results, cached, settings_of):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert results.save_many([outcome := cached(1)]) == [outcome]
    assert results.fetch(outcome.id) is MISSING
    assert saved_success({"id": outcome.id, "cached": True}, settings_of(name="q")) is None
