"""Reading functions return results, also falsy ones, and never wait longer than `wait`."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.utils import timezone
from django_q import tasks
from django_q.brokers import get_broker
from django_q.exceptions import OptionError
from django_q.models import Task
from django_q.results.cache import CacheResults
from django_q.results.store import ResultStore
from django_q.settings import ClusterSettings
from django_q.wire.ids import new_id
from django_q.wire.option_values import label
from django_q.wire.outcome import Outcome, encode
from django_q.wire.package import new_package

NOW = timezone.now()


class Finished:
    """Finishes tasks as a cluster does, in the database or in the cache."""

    def __init__(self, *, cached: bool) -> None:
        self.cached = cached
        self.number = 0
        self.settings = ClusterSettings.from_django()

    def __call__(self, result: object = None, *, success: bool = True, **fields: object) -> str:
        self.number += 1
        moment = NOW + timedelta(seconds=self.number)
        fields = {"task_id": new_id(), "name": f"task-{self.number}", "started": moment} | fields
        package = new_package("math.floor", (1.5,), **fields)
        package |= {"result": result, "success": success, "stopped": moment}
        outcome = Outcome(
            package["id"],
            package["name"],
            "math.floor",
            None,
            encode((1.5,)),
            encode({}),
            encode(result),
            package.get("group"),
            "test",
            package["started"],
            moment,
            success,
            cached=self.cached,
            finished=CacheResults(self.settings).codec.dumps(package),
        )
        ResultStore(self.settings).save_many([outcome])
        return package["id"]


@pytest.fixture(params=["database", "cache"])
def finish(request, settings, db) -> Finished:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"cached": request.param == "cache"}
    return Finished(cached=request.param == "cache")


# one task


@pytest.mark.parametrize("value", [42, 0, "", [], False, {"a": (1, 2)}])
def test_result_is_returned(finish, value) -> None:
    assert tasks.result(finish(value)) == value


@pytest.mark.parametrize("value", [0, None])
def test_falsy_result_is_not_waited_for(finish, value) -> None:
    task_id = finish(value)
    started = time.monotonic()
    assert tasks.result(task_id, wait=10_000) == value
    assert tasks.fetch(task_id, wait=10_000).result == value
    assert time.monotonic() - started < 5


def test_task_that_has_not_finished_is_none(finish) -> None:
    assert tasks.result(new_id()) is None
    assert tasks.fetch(new_id(), wait=5) is None


def test_text_of_a_failure_is_its_result(finish) -> None:
    task_id = finish("oh : Traceback", success=False)
    assert tasks.result(task_id) == "oh : Traceback"
    assert not tasks.fetch(task_id).success


def test_task_is_fetched_whole(finish) -> None:
    task = tasks.fetch(finish(1, group="g", name="my task"))
    assert isinstance(task, Task)
    assert (task.name, task.func, task.args, task.kwargs) == ("my task", "math.floor", (1.5,), {})
    assert (task.group, task.success, task.result, task.attempt_count) == ("g", True, 1, 1)


@pytest.mark.django_db
def test_name_is_as_good_as_an_id() -> None:
    finish = Finished(cached=False)
    finish(1, name="twice")
    finish(2, name="twice")
    finish(3, name="x" * 32)
    assert tasks.result("twice") == 2
    assert tasks.fetch("twice").result == 2
    assert tasks.result("x" * 32) == 3


def test_cached_task_is_saved_on_demand(finish) -> None:
    task = tasks.fetch(finish(1, group="g"))
    task.save()
    assert Task.objects.get().group == "g"


def test_result_is_returned_as_soon_as_it_is_there(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    finish, task_id = Finished(cached=True), new_id()
    timer = threading.Timer(0.05, finish, ["late"], {"task_id": task_id})
    timer.start()
    assert tasks.result(task_id, wait=-1, cached=True) == "late"
    timer.join()


def test_asynchronous_callers_are_answered(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    task_id = Finished(cached=True)(0)
    assert asyncio.run(tasks.aresult(task_id, wait=100, cached=True)) == 0
    assert asyncio.run(tasks.afetch(task_id, cached=True)).id == task_id


def test_deleted_task_is_gone(finish) -> None:
    if not finish.cached:
        pytest.skip("tasks in the database are deleted by Task.delete()")
    task_id = finish(1)
    assert tasks.delete_cached(task_id)
    assert tasks.result(task_id) is None
    assert not tasks.delete_cached(task_id)


# groups


def test_results_of_a_group_are_in_the_order_of_sending(finish) -> None:
    for place in (2, 0, 1):
        finish(place, group="g", started=NOW + timedelta(minutes=place))
    finish("oh", group="g", success=False)
    finish("other", group="h")
    assert tasks.result_group("g") == [0, 1, 2]
    assert len(tasks.result_group("g", failures=True)) == 4


def test_group_has_its_tasks(finish) -> None:
    ids = [finish(number, group="g") for number in range(3)]
    failure = finish("oh", group="g", success=False)
    assert [task.id for task in tasks.fetch_group("g")] == [*ids, failure]
    assert [task.id for task in tasks.fetch_group("g", failures=False)] == ids


@pytest.mark.django_db
def test_group_of_the_database_is_a_queryset() -> None:
    finish = Finished(cached=False)
    finish(1, group="g")
    finish("oh", group="g", success=False)
    assert tasks.fetch_group("g").exclude(success=False).count() == 1


def test_group_without_tasks_is_none_and_counts_nothing(finish) -> None:
    assert tasks.result_group("nobody") is None
    assert tasks.fetch_group("nobody", wait=5) is None
    assert tasks.count_group("nobody") == 0


def test_group_of_failures_has_no_results(finish) -> None:
    finish("oh", group="g", success=False)
    assert tasks.result_group("g") is None
    assert tasks.result_group("g", count=1) is None


def test_group_is_counted(finish) -> None:
    for number in range(3):
        finish(number, group="g")
    finish("oh", group="g", success=False)
    assert tasks.count_group("g") == 4
    assert tasks.count_group("g", failures=True) == 1


def test_count_that_is_reached_is_not_waited_for(finish) -> None:
    for number in range(3):
        finish(number, group="g")
    assert tasks.result_group("g", count=3) == [0, 1, 2]
    assert tasks.result_group("g", count=2) == [0, 1, 2]


def test_count_that_is_never_reached_ends_with_wait(finish) -> None:
    finish(1, group="g")
    assert tasks.result_group("g", count=5, wait=30) == [1]
    assert len(tasks.fetch_group("g", count=5, wait=30)) == 1


def test_group_is_waited_for(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()
    finish = Finished(cached=True)
    finish(1, group="g")
    timer = threading.Timer(0.05, finish, [2], {"group": "g"})
    timer.start()
    assert tasks.result_group("g", count=2, cached=True) == [1, 2]
    timer.join()


def test_group_loses_its_label(finish) -> None:
    task_id = finish(1, group="g")
    finish(2, group="g")
    assert tasks.delete_group("g") == 2
    assert tasks.count_group("g") == 0
    assert (tasks.result(task_id) == 1) is not finish.cached


def test_group_is_deleted_with_its_tasks(finish) -> None:
    task_id = finish(1, group="g")
    assert tasks.delete_group("g", tasks=True) == 1
    assert tasks.result(task_id) is None


def test_group_of_a_broker_is_its_own(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()
    task_id = Finished(cached=True)(1, group="g")
    other = get_broker("other")
    assert tasks.result_cached(task_id, broker=other) is None
    assert tasks.result_cached(task_id, broker=get_broker()) == 1
    assert tasks.result_group_cached("g", broker=other) is None
    assert tasks.count_group_cached("g") == 1
    assert tasks.delete_group_cached("g") == 1


# the queue and the signatures


def test_queue_size_is_that_of_the_broker() -> None:
    broker = get_broker("sized")
    broker.enqueue("x")
    assert tasks.queue_size(broker=broker) == 1
    broker.purge_queue()
    assert tasks.queue_size() == 0


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("result", "task_id, wait, cached"),
        ("result_cached", "task_id, wait, broker"),
        ("fetch", "task_id, wait, cached"),
        ("fetch_cached", "task_id, wait, broker"),
        ("result_group", "group_id, failures, wait, count, cached"),
        ("result_group_cached", "group_id, failures, wait, count, broker"),
        ("fetch_group", "group_id, failures, wait, count, cached"),
        ("fetch_group_cached", "group_id, failures, wait, count, broker"),
        ("count_group", "group_id, failures, cached"),
        ("count_group_cached", "group_id, failures, broker"),
        ("delete_group", "group_id, tasks, cached"),
        ("delete_group_cached", "group_id, broker"),
        ("delete_cached", "task_id, broker"),
        ("queue_size", "broker"),
    ],
)
def test_signature_is_the_manuals(function, parameters) -> None:
    assert ", ".join(inspect.signature(getattr(tasks, function)).parameters) == parameters


# labels in any form

LABELS = [42, 0, uuid.UUID(int=7), "x" * 300, "nul\0", "\ud800", "日" * 101, "two words", True]


@pytest.mark.parametrize("group", LABELS, ids=lambda group: ascii(group)[:12])
def test_group_is_found_in_the_form_in_which_it_was_given(finish, group) -> None:
    ids = [finish(number, group=label("group", group)) for number in (1, 2)]
    assert tasks.result_group(group) == [1, 2]
    assert tasks.result_group(group, count=2, wait=100) == [1, 2]
    assert [task.id for task in tasks.fetch_group(group)] == ids
    assert tasks.count_group(group) == 2
    assert tasks.delete_group(group, tasks=True) == 2
    assert tasks.count_group(group) == 0


@pytest.mark.parametrize("name", LABELS, ids=lambda name: ascii(name)[:12])
def test_task_is_found_by_its_name_as_it_was_given(db, name) -> None:
    task_id = tasks.async_task("math.floor", 1.5, task_name=name, sync=True)
    assert tasks.result(name) == Task.get_result(name) == 1
    assert tasks.fetch(name).id == Task.get_task(name).id == task_id


def test_task_is_found_by_its_id_as_a_uuid(finish) -> None:
    task_id = finish(7)
    assert tasks.result(uuid.UUID(task_id)) == 7
    assert tasks.fetch(uuid.UUID(task_id)).id == task_id


NO_LABELS = [None, ["a"], ("a",), {"a": 1}, {1}, b"a", object()]
BY_ID = [tasks.result, tasks.fetch, tasks.result_cached, tasks.fetch_cached, tasks.delete_cached]
BY_ID += [Task.get_task, Task.get_result]
BY_GROUP = [tasks.result_group, tasks.fetch_group, tasks.count_group, tasks.delete_group]
BY_GROUP += [tasks.result_group_cached, tasks.fetch_group_cached, tasks.count_group_cached, tasks.delete_group_cached]
BY_GROUP += [Task.get_result_group, Task.get_task_group, Task.get_group_count, Task.delete_group]


@pytest.mark.parametrize("value", NO_LABELS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("call", [*BY_ID, *BY_GROUP], ids=lambda call: call.__qualname__)
def test_what_is_no_label_is_refused(finish, call, value) -> None:
    finish(1)  # has no group
    with pytest.raises(OptionError, match=r"(task|group)_id is .*: give a label"):
        call(value)
    assert Task.objects.count() == (0 if finish.cached else 1)


@pytest.mark.parametrize("value", NO_LABELS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("call", [tasks.aresult, tasks.afetch], ids=lambda call: call.__qualname__)
def test_what_is_no_label_is_refused_by_asynchronous_calls(call, value) -> None:
    with pytest.raises(OptionError, match=r"task_id is .*: give a label"):
        asyncio.run(call(value))


@pytest.mark.parametrize("options", [{"wait": "200"}, {"wait": None}, {"count": "2"}, {"count": -1}, {"count": 1.5}])
def test_what_is_no_number_is_refused(finish, options) -> None:
    if "wait" in options:
        with pytest.raises(OptionError, match="wait is"):
            tasks.result("nobody", **options)
        with pytest.raises(OptionError, match="wait is"):
            tasks.fetch("nobody", **options)
    with pytest.raises(OptionError, match=r"(wait|count) is"):
        tasks.result_group("nobody", **options)
    with pytest.raises(OptionError, match=r"(wait|count) is"):
        tasks.fetch_group("nobody", **options)
