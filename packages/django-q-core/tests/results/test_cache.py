"""Results in the cache are equal to those in the database."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django_q.brokers.registry import broker_class
from django_q.databases.errors import is_unavailable
from django_q.exceptions import ResultsUnavailable, UnreadablePackage
from django_q.results.cache import CacheResults
from django_q.results.store import ResultStore
from django_q.results.waiting import MISSING
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package


@pytest.fixture(autouse=True)
def local_cache(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()


@pytest.fixture
def results(settings_of) -> CacheResults:
    return CacheResults(settings_of(), "q")


@pytest.fixture
def cached(outcome, results):
    """Make the outcome of a cached task."""

    def make(result: object = None, **fields):
        fields = {"cached": True} | fields
        made = outcome(result, **fields)
        package = new_package("math.copysign", (1, -2), task_id=made.id, name=made.name, started=made.started)
        package |= {"result": result, "success": made.success, "stopped": made.stopped, "attempt_count": made.attempt}
        return made._replace(finished=results.codec.dumps(package | ({"group": made.group} if made.group else {})))

    return make


def test_result_is_under_the_key_of_the_public_editions(results, cached) -> None:
    fields = cached(42)
    results.save_many([fields])
    assert results.codec.loads(cache.get(f"q:{fields.id}"))["result"] == 42
    assert results.fetch(fields.id)["result"] == 42


@pytest.fixture
def as_theirs(results):
    """Return an outcome that is signed like a package, as in the public editions."""

    def sign(made):
        return made._replace(finished=PackageCodec.of(results.settings).dumps(results.codec.loads(made.finished)))

    return sign


def test_saved_result_is_no_package(results, cached) -> None:
    results.save_many([made := cached(42)])
    with pytest.raises(UnreadablePackage, match="foreign signature"):
        PackageCodec.of(results.settings).loads(cache.get(results.key(made.id)))


def test_result_of_a_public_edition_is_read(results, cached, as_theirs) -> None:
    theirs = as_theirs(cached(42))
    cache.set(results.key(theirs.id), theirs.finished)
    assert results.fetch(theirs.id)["result"] == 42
    assert results.look_up(theirs.id)["result"] == 42


def test_success_of_a_public_edition_stays(results, cached, as_theirs) -> None:
    theirs = as_theirs(cached(42))
    cache.set(results.key(theirs.id), theirs.finished)
    results.save_many([cached("late", id=theirs.id, success=False, attempt=2)])
    assert results.fetch(theirs.id)["result"] == 42


def test_package_that_was_copied_to_the_cache_is_no_result(results) -> None:
    package = new_package("math.floor", (1,), cached=True)
    cache.set(results.key(package["id"]), PackageCodec.of(results.settings).dumps(package))
    with pytest.raises(UnreadablePackage, match="no finished task"):
        results.fetch(package["id"])


def test_failure_replaces_a_package_in_the_cache(results, cached) -> None:
    failure = cached("oh", success=False)
    package = new_package("math.floor", (1,), task_id=failure.id) | {"attempt_count": 9}
    cache.set(results.key(failure.id), PackageCodec.of(results.settings).dumps(package))
    results.save_many([failure])
    assert results.fetch(failure.id)["result"] == "oh"


def test_task_that_is_not_there_is_missing(results) -> None:
    assert results.fetch("nobody") is MISSING


def test_later_success_replaces_a_failure(results, cached) -> None:
    failure = cached("oh", success=False)
    results.save_many([failure])
    results.save_many([cached(42, id=failure.id, attempt=2)])
    assert results.fetch(failure.id)["result"] == 42


def test_failure_never_replaces_a_success(results, cached) -> None:
    failure = cached("oh", success=False)
    results.save_many([failure])
    results.save_many([cached(42, id=failure.id, attempt=2)])
    for attempt in (1, 2, 3):
        results.save_many([cached("late", id=failure.id, success=False, attempt=attempt)])
    assert results.fetch(failure.id)["result"] == 42


def test_later_failure_replaces_a_failure(results, cached) -> None:
    failure = cached("first", success=False)
    results.save_many([failure])
    results.save_many([cached("second", id=failure.id, success=False, attempt=2)])
    results.save_many([failure])
    found = results.fetch(failure.id)
    assert (found["result"], found["attempt_count"]) == ("second", 2)


def test_failure_replaces_what_cannot_be_read(results, cached) -> None:
    failure = cached("oh", success=False)
    cache.set(results.key(failure.id), "with a foreign signature")
    results.save_many([failure])
    assert results.fetch(failure.id)["result"] == "oh"


@pytest.mark.parametrize(("option", "seconds"), [(True, None), (60, 60), (0.2, 1)])
def test_result_is_kept_as_long_as_its_task_says(results, cached, monkeypatch, option, seconds) -> None:
    fields = []
    set_many = BaseCache.set_many

    def listen(self, data, timeout=None, **kwargs):
        fields.append(timeout)
        return set_many(self, data, timeout, **kwargs)

    monkeypatch.setattr(BaseCache, "set_many", listen)
    results.save_many([cached(1, cached=option)])
    assert fields == [seconds]


def test_group_is_read_in_the_order_of_sending(results, cached) -> None:
    first, second, third = (cached(number, group="g") for number in range(3))
    results.save_many([third, first])
    results.save_many([second, cached("oh", group="g", success=False)])
    assert [package["result"] for package in results.fetch_group("g", failures=False)] == [2, 0, 1]
    assert len(results.fetch_group("g")) == 4
    assert results.has_members("g", 4)
    assert not results.has_members("g", 5)


def test_group_that_a_public_edition_has_begun_is_read_whole(results, cached, as_theirs) -> None:
    theirs, ours = as_theirs(cached(1, group="g")), cached(2, group="g")
    cache.set(f"q:{theirs.id}", theirs.finished)
    cache.set("q:g:keys", [f"q:{theirs.id}"])
    results.save_many([ours])
    assert sorted(package["result"] for package in results.fetch_group("g")) == [1, 2]
    assert results.delete_group("g") == 2
    assert results.fetch_group("g") == []


def test_deleted_group_takes_its_tasks_with_it(results, cached) -> None:
    fields = [cached(number, group="g", success=number > 1) for number in range(4)]
    results.save_many(fields)
    assert results.delete_group("g") == 4
    assert all(results.fetch(each.id) is MISSING for each in fields)


def test_nothing_stays_in_the_cache(results, cached) -> None:
    results.save_many([cached(number, group="g", success=number > 1) for number in range(4)])
    results.save_many([alone := cached("oh", success=False)])
    results.delete_group("g")
    results.delete(alone.id)
    assert cache._cache == {}


def test_cache_outage_differs_from_an_invalid_outcome(results, cached, monkeypatch) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise ConnectionRefusedError("no")

    monkeypatch.setattr(BaseCache, "set_many", away)
    with pytest.raises(ResultsUnavailable, match=r"default.*ConnectionRefusedError: no") as caught:
        results.save_many([cached(1)])
    assert is_unavailable(caught.value)


def test_keys_begin_as_the_broker_calls_the_queue(settings_of) -> None:
    pytest.importorskip("django_q_redis")
    settings = settings_of(name="site", redis={"host": "nowhere"})
    assert CacheResults(settings).list_key == broker_class(settings).queue_key("site")


def test_broker_that_is_not_installed_is_not_needed(settings_of) -> None:
    assert CacheResults(settings_of(name="site", mongo={"host": "nowhere"})).list_key == "site"


@pytest.mark.django_db
def test_each_outcome_goes_where_its_task_says(settings_of, outcome, cached) -> None:
    store = ResultStore(settings_of(), "q")
    saved, kept = outcome("oh", success=False), cached("oh", success=False)
    assert store.save_many([kept, saved]) == [kept, saved]
    assert store.cache.fetch(saved.id) is MISSING
    assert store.cache.fetch(kept.id)["result"] == "oh"
