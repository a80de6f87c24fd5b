"""Tracked tasks in sync mode, and the functions that read their records."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from django_q.exceptions import OptionError, TaskFailed, TaskPending
from django_q.models import Record, Status
from django_q.tasks import arecord, arecords, astatus, async_chain, async_iter, async_task, record, records, status

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sync(settings):
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "sync": True}


def send(func: str = "math.copysign", *args: object, **options: object):
    return async_task.options(track=True, **options)(func, *args)


def test_success_has_a_record() -> None:
    task_id = send("math.copysign", 2, -2, group="signs", priority=7)
    found = record(task_id)
    assert (found.status, found.group, found.priority, found.func) == ("succeeded", "signs", 7, "math.copysign")
    assert (found.args, found.kwargs, found.return_value) == ((2, -2), {}, -2.0)
    assert found.enqueued_at <= found.started_at == found.last_attempted_at <= found.finished_at
    (attempt,) = found.attempts
    assert (attempt["number"], attempt["exception_class"], attempt["traceback"]) == (1, None, None)
    assert attempt["worker"]
    assert attempt["duration"] >= 0


def test_failure_has_its_exception() -> None:
    found = record(send("math.sqrt", -1))
    assert (found.status, found.return_value) == ("failed", None)
    (attempt,) = found.attempts
    assert attempt["exception_class"] == "builtins.ValueError"
    assert "math domain error" in attempt["traceback"]


def test_untracked_task_has_no_record() -> None:
    task_id = async_task("math.copysign", 2, -2)
    assert (record(task_id), Record.objects.count(), status(task_id)) == (None, 0, Status.SUCCEEDED)
    assert status(async_task("math.sqrt", -1)) == Status.FAILED
    assert status("an unknown task") is None


def test_setting_tracks_each_task(settings) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "track": True}
    assert status(async_task("math.copysign", 2, -2)) == Status.SUCCEEDED
    assert Record.objects.count() == 1
    async_task.options(track=False)("math.copysign", 2, -2)
    assert Record.objects.count() == 1


def test_result_is_kept_without_a_saved_success() -> None:
    task_id = send("math.copysign", 2, -2, save=False)
    assert task_id.result() == -2.0


def test_records_are_found_by_group_and_status() -> None:
    good, bad, other = send("abs", 1, group=7), send("math.sqrt", -1, group=7), send("abs", 2, group="b")
    assert {each.pk for each in records(group=7)} == {good, bad}
    assert {each.pk for each in records(status="succeeded")} == {good, other}
    assert [each.pk for each in records(group=7, status=Status.FAILED)] == [bad]
    with pytest.raises(OptionError, match="queued"):
        records(status="done")


def test_record_is_found_by_name() -> None:
    send("abs", 1, task_name="one")
    second = send("abs", 2, task_name="one")
    assert record("one").pk == second


def test_links_of_a_chain_are_tracked() -> None:
    group = async_chain([("math.floor", (1.5,)), ("math.ceil", (1.5,))], track=True)
    assert sorted(each.return_value for each in records(group=group)) == [1, 2]
    assert {each.func for each in records(group=group)} == {"math.floor", "math.ceil"}


def test_members_of_an_iter_are_tracked() -> None:
    iter_id = async_iter.options(track=True)("math.floor", [1.5, 2.5, 3.5])
    assert sorted(each.return_value for each in records(group=iter_id)) == [1, 2, 3]


def test_handle_is_the_id() -> None:
    handle = async_task("abs", -1)
    assert isinstance(handle, str)
    assert len(handle) == 32
    assert handle == str(handle) == f"{handle}" == pickle.loads(pickle.dumps(handle))
    assert type(pickle.loads(pickle.dumps(handle))) is str
    assert repr(handle) == repr(str(handle))


@pytest.mark.parametrize("track", [True, False])
def test_handle_returns_the_result(track: bool) -> None:
    handle = async_task.options(track=track)("math.copysign", 2, -2)
    assert handle.result() == -2.0
    assert handle.status() == Status.SUCCEEDED
    assert (handle.record() is not None) is track


@pytest.mark.parametrize("track", [True, False])
def test_handle_raises_the_failure(track: bool) -> None:
    handle = async_task.options(track=track)("math.sqrt", -1)
    with pytest.raises(TaskFailed, match="math domain error") as raised:
        handle.result()
    assert raised.value.exception_class.endswith("ValueError")
    assert raised.value.message == "math domain error"
    assert "Traceback" in raised.value.traceback
    assert handle.status() == Status.FAILED


@pytest.mark.parametrize("cached", [True, 60])
def test_handle_reads_the_cache(cached: float) -> None:
    assert async_task("math.copysign", 2, -2, cached=cached).result() == -2.0


@pytest.mark.parametrize("timeout", ["soon", [1]])
def test_timeout_must_be_a_number(timeout: object) -> None:
    handle = async_task("abs", -1)
    with pytest.raises(OptionError):
        handle.result(timeout=timeout)


@pytest.mark.django_db(transaction=True)
def test_async_forms_return_the_same() -> None:
    handle = send("math.copysign", 2, -2, group="g")

    async def read():
        forms = handle.aresult(timeout=5), handle.astatus(), astatus(handle), arecord(handle), handle.arecord()
        return [await each for each in forms], await arecords(group="g", status="succeeded")

    (result, own_status, found_status, found, own), found_records = asyncio.run(read())
    assert (result, own_status, found_status) == (-2.0, "succeeded", "succeeded")
    assert found == own == found_records[0]


def test_waiting_task_is_pending(settings) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "sync": False}
    handle = send("abs", -1)
    assert handle.status() == Status.QUEUED
    with pytest.raises(TaskPending):
        handle.result(timeout=0.01)
    later = send("abs", -1, delay=60)
    assert later.status() == Status.SCHEDULED
    assert later.record().run_after > later.record().enqueued_at


def test_text_that_looks_like_a_failure_is_no_class() -> None:
    with pytest.raises(TaskFailed) as raised:
        async_task("builtins.exec", "raise KeyError('a : b: c')").result()
    assert raised.value.exception_class.endswith("KeyError")
