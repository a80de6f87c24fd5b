"""A task is found by its label on a database whose character set lacks some of its characters."""

from __future__ import annotations

import pytest
from django.db import DataError, OperationalError, connection
from django_q.models import Task
from django_q.models.labels import stored_label
from django_q.tasks import async_task, count_group, delete_group, fetch, fetch_group, result, result_group

LABELS = ["é", "x" * 101, "\ud800", "日本" * 60]


@pytest.fixture
def ascii_database(db):
    """Database that accepts ASCII characters only."""

    def refuse(execute, sql, params, many, context):
        if not repr(params).isascii():
            raise DataError("character has no equivalent in encoding")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


@pytest.mark.parametrize("label", LABELS)
def test_task_is_found_by_a_label_with_escapes(ascii_database, label):
    async_task("math.sqrt", 4, group=label, task_name=label, sync=True)
    assert Task.objects.get().group.isascii()
    assert (result(label), fetch(label).result) == (2, 2)
    assert result_group(label) == [2]
    assert [task.result for task in fetch_group(label)] == [2]
    assert (count_group(label), delete_group(label)) == (1, 1)


def test_unavailable_database_is_no_small_character_set(db):
    def refuse(execute, sql, params, many, context):
        raise OperationalError(2006, "server has gone away")

    with connection.execute_wrapper(refuse), pytest.raises(OperationalError):
        stored_label(Task, "é")
