from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import floor
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import DataError, connection
from django_q.models import Failure, Success, Task
from django_q.wire.outcome import encode

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def save(name: str = "n", *, after: float = 0, **columns: object) -> Task:
    stopped = NOON + timedelta(seconds=after)
    columns = {"id": uuid4().hex, "func": "math.floor", "started": NOON, "stopped": stopped} | columns
    return Task.objects.create(name=name, **columns)


def test_task_is_found_by_id_and_by_name() -> None:
    task = save("four-words-in-it")
    assert Task.get_task(task.id) == Task.get_task("four-words-in-it") == task


def test_name_of_32_characters_is_a_name() -> None:
    task = save("x" * 32)
    assert Task.get_task("x" * 32) == task


def test_last_task_of_a_name_is_found() -> None:
    save(after=1)
    last = save(after=2)
    save(after=0)
    assert Task.get_task("n") == last


def test_unknown_task_is_none() -> None:
    assert Task.get_task("nobody") is None
    assert Task.get_task("f" * 32) is None
    assert Task.get_result("nobody") is None


@pytest.mark.parametrize("result", [0, "", None, [1, {"a": "ü"}], b"\xff", NOON, floor], ids=repr)
def test_result_is_the_returned_value(result: object) -> None:
    assert Task.get_result(save(result=result).id) == result


def test_a_model_is_a_result() -> None:
    user = User.objects.create(username="frida")
    assert Task.get_result(save(result=user).id) == user


@pytest.mark.parametrize("many", [False, True], ids=["create", "bulk_create"])
def test_encoded_text_is_saved_without_being_unpickled(many: bool) -> None:
    text = encode({"x": [1, "ü"]})
    task = Task(id="f" * 32, name="n", func="f", args=encode((1,)), result=text, started=NOON, stopped=NOON)
    if many:
        Task.objects.bulk_create([task])
    else:
        task.save()
    with connection.cursor() as cursor:
        cursor.execute("SELECT result FROM django_q_task")
        assert cursor.fetchone() == (text,)
    assert Task.get_result("f" * 32) == {"x": [1, "ü"]}


def test_unreadable_column_is_shown_as_text() -> None:
    task = save()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_q_task SET result = 'no pickle'")
    assert Task.get_result(task.id) == "no pickle"


def test_group_results_include_failures_on_request() -> None:
    save(group="g", result=1, after=1)
    save(group="g", result="error", success=False, after=2)
    save(group="other", result=3)
    assert list(Task.get_result_group("g")) == [1]
    assert set(Task.get_result_group("g", failures=True)) == {1, "error"}


def test_group_tasks_exclude_failures_on_request() -> None:
    good, bad = save(group="g"), save(group="g", success=False)
    assert set(Task.get_task_group("g")) == {good, bad}
    assert list(Task.get_task_group("g", failures=False)) == [good]


def test_group_is_counted() -> None:
    save(group="g")
    save(group="g", success=False)
    assert Task.get_group_count("g") == 2
    assert Task.get_group_count("g", failures=True) == 1
    assert Task.get_group_count("nobody") == 0


def test_group_label_is_removed() -> None:
    save(group="g")
    save(group="g")
    assert Task.delete_group("g") == 2
    assert Task.objects.filter(group=None).count() == 2


def test_group_is_deleted_with_its_tasks() -> None:
    save(group="g")
    save(group="other")
    assert Task.delete_group("g", objects=True)[0] == 1
    assert Task.objects.count() == 1


def test_task_has_methods_for_its_group() -> None:
    task = save(group="g", result=1)
    assert list(task.group_result()) == [1]
    assert task.group_count() == 1
    assert task.group_delete() == 1


def test_task_without_group_has_no_group() -> None:
    task = save()
    assert (task.group_result(), task.group_count(), task.group_delete(tasks=True)) == (None, None, None)
    assert Task.objects.count() == 1


def test_time_taken_is_from_sending_to_finishing() -> None:
    assert save(after=1.5).time_taken() == 1.5


def test_short_result_has_a_hundred_characters() -> None:
    assert len(save(result="x" * 200).short_result) == 100


def test_text_of_a_task_is_its_name_or_id() -> None:
    assert str(Task(id="f" * 32, name="n")) == "n"
    assert str(Task(id="f" * 32)) == "f" * 32


def test_proxies_contain_successes_or_failures() -> None:
    good, bad = save(), save(success=False)
    assert [task.pk for task in Success.objects.all()] == [good.pk]
    assert [task.pk for task in Failure.objects.all()] == [bad.pk]


def test_newest_comes_first() -> None:
    old, new = save(after=1), save(after=2)
    assert list(Task.objects.all()) == [new, old]


def test_long_name_is_truncated_with_a_mark() -> None:
    try:
        task = save("x" * 101)
    except DataError:
        return
    assert Task.objects.get(pk=task.pk).name == "x" * 101
