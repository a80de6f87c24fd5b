"""The calls have the arguments of the manual (1.4.2, 1.4.6, 1.5.1, 1.6.1, 1.7.1, 1.8.6), in its order."""

from __future__ import annotations

from inspect import Parameter, signature

import pytest
from django_q import tasks
from django_q.models import Task
from django_q.tasks import AsyncTask, Chain, Iter

BY_SETTING = None
"""The manual's `Conf.CACHED` and `Conf.SYNC`: as the settings say at the time of the call."""

MANUAL = [
    (tasks.result, {"task_id": ..., "wait": 0, "cached": BY_SETTING}),
    (tasks.fetch, {"task_id": ..., "wait": 0, "cached": BY_SETTING}),
    (tasks.queue_size, {"broker": None}),
    (tasks.delete_cached, {"task_id": ..., "broker": None}),
    (tasks.result_group, {"group_id": ..., "failures": False, "wait": 0, "count": None, "cached": BY_SETTING}),
    (tasks.fetch_group, {"group_id": ..., "failures": True, "wait": 0, "count": None, "cached": BY_SETTING}),
    (tasks.count_group, {"group_id": ..., "failures": False, "cached": BY_SETTING}),
    (tasks.delete_group, {"group_id": ..., "tasks": False, "cached": BY_SETTING}),
    (tasks.result_cached, {"task_id": ..., "wait": 0, "broker": None}),
    (tasks.fetch_cached, {"task_id": ..., "wait": 0, "broker": None}),
    (tasks.result_group_cached, {"group_id": ..., "failures": False, "wait": 0, "count": None, "broker": None}),
    (tasks.fetch_group_cached, {"group_id": ..., "failures": True, "wait": 0, "count": None, "broker": None}),
    (tasks.count_group_cached, {"group_id": ..., "failures": False, "broker": None}),
    (tasks.delete_group_cached, {"group_id": ..., "broker": None}),
    (tasks.async_task, {"func": ...}),
    (tasks.async_iter, {"func": ..., "args_iter": ...}),
    (tasks.async_chain, {"chain": ..., "group": None, "cached": BY_SETTING, "sync": BY_SETTING, "broker": None}),
    (tasks.schedule, {"func": ...}),
    (AsyncTask, {"func": ...}),
    (AsyncTask.run, {}),
    (AsyncTask.result, {"wait": 0}),
    (AsyncTask.fetch, {"wait": 0}),
    (AsyncTask.result_group, {"failures": False, "wait": 0, "count": None}),
    (AsyncTask.fetch_group, {"failures": True, "wait": 0, "count": None}),
    (Iter, {"func": None, "args": None, "kwargs": None, "cached": BY_SETTING, "sync": BY_SETTING, "broker": None}),
    (Iter.append, {}),
    (Iter.run, {}),
    (Iter.result, {"wait": None}),  # the manual's 0 contradicts its example: docs/reference/tasks.md
    (Iter.fetch, {"wait": None}),
    (Iter.length, {}),
    (Chain, {"chain": None, "group": None, "cached": BY_SETTING, "sync": BY_SETTING, "broker": None}),
    (Chain.append, {"func": ...}),
    (Chain.run, {}),
    (Chain.result, {"wait": 0}),
    (Chain.fetch, {"failures": True, "wait": 0}),
    (Chain.current, {}),
    (Chain.length, {}),
    (Task.get_result, {"task_id": ...}),
    (Task.get_result_group, {"group_id": ..., "failures": False}),
    (Task.get_task, {"task_id": ...}),
    (Task.get_task_group, {"group_id": ..., "failures": True}),
    (Task.get_group_count, {"group_id": ..., "failures": False}),
    (Task.delete_group, {"group_id": ..., "objects": False}),
    (Task.group_result, {"failures": False}),
    (Task.group_count, {"failures": False}),
    (Task.group_delete, {"tasks": False}),
    (Task.time_taken, {}),
]

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@pytest.mark.parametrize(("call", "arguments"), MANUAL, ids=lambda each: getattr(each, "__qualname__", ""))
def test_arguments_are_those_of_the_manual(call, arguments):
    found = {
        name: ... if each.default is Parameter.empty else each.default
        for name, each in signature(call).parameters.items()
        if each.kind in POSITIONAL and name != "self"
    }
    ours = list(found)[len(arguments) :]  # what we have added comes after
    assert list(found.items())[: len(arguments)] == list(arguments.items())
    assert all(found[name] is not ... for name in ours)
