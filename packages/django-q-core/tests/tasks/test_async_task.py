"""Tests of `AsyncTask`."""

from __future__ import annotations

import pytest
from django_q.models import Task
from django_q.tasks import AsyncTask

pytestmark = pytest.mark.django_db


def test_manuals_example(turns):
    task = AsyncTask("math.floor", 1.5, group="math")
    task.cached = True
    assert task.run() == task.id
    assert task.result() is None
    turns.all()
    assert task.result(wait=-1) == 1
    assert not Task.objects.exists()
    task.args = (2.5,)
    assert task.result() is None
    task.run()
    turns.all()
    assert task.result(wait=10) == 2
    assert task.fetch().args == (2.5,)
    assert sorted(task.result_group(count=2)) == [1, 2]
    assert len(task.fetch_group(count=2)) == 2


@pytest.mark.parametrize("options", [{}, {"q_options": {}}])
def test_options_are_kept_where_they_were_given(options):
    given = {name: dict(value) for name, value in options.items()}
    task = AsyncTask("math.floor", 1.5, **options)
    for name, value in {"group": "g", "save": False, "hook": "a.b", "sync": True, "cached": 3, "timeout": 4}.items():
        task.started = True
        assert getattr(task, name) is None
        setattr(task, name, value)
        assert getattr(task, name) == value
        assert not task.started
    assert options == given
    assert ("group" in task.kwargs) is not bool(given)


@pytest.mark.parametrize("change", [{"func": "math.ceil"}, {"args": (1,)}, {"kwargs": {}}, {"save": True}])
def test_change_after_the_run_takes_the_result_away(change):
    task = AsyncTask("math.floor", 1.5, sync=True, group="g")
    task.run()
    assert (task.result(), task.fetch().result, list(task.result_group())) == (1, 1, [1])
    for name, value in change.items():
        setattr(task, name, value)
    assert task.result() is task.fetch() is task.result_group() is task.fetch_group() is None


def test_saved_task_and_its_group(turns):
    task = AsyncTask("math.floor", 1.5, q_options={"group": "g"})
    task.run()
    turns.all()
    assert task.result() == 1
    assert task.fetch().group_count() == 1
    assert [found.id for found in task.fetch_group()] == [task.id]
    assert AsyncTask("math.floor", 1).result_group() is None
