"""Sends a finished task again, as a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.exceptions import TaskError
from django_q.functions import locate, resolve
from django_q.models import Task
from django_q.tasks.iters import async_iter
from django_q.tasks.sending import async_task
from django_q.tasks.tracking import record as record_of
from django_q.wire.pickling import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_q.models import Record


class NotFinished(TaskError):
    """The task has not ended."""


class NotRepeatable(TaskError):
    """The row does not contain all arguments of the call."""


class UnknownTask(TaskError):
    """There is no task with this id or name."""


def resubmit(task_id: str) -> str:
    """Repeat the call of a finished task. A tracked one is tracked again.

    Args:
        task_id: id or name of the task.

    Returns:
        The id of the new task.

    Raises:
        UnknownTask: no record and no finished task has this id.
        NotFinished: the task has not ended.
        NotRepeatable: its arguments were not kept, or cannot be read.
        UnknownFunction: its function does not exist any more.
        BrokerUnavailable: nothing was queued.
    """
    record = record_of(task_id)
    if record is not None:
        return resubmit_record(record)
    task = Task.get_task(task_id)
    if task is None:
        raise UnknownTask(f"There is no record and no finished task {task_id!r}: 'manage.py qtasks list' shows ids.")
    return resubmit_task(task)


def resubmit_record(record: Record) -> str:
    """Repeat the call of a tracked task, with its group, queue, priority and hook.

    Args:
        record: the record of the task.

    Returns:
        The id of the new task; errors as of `resubmit`.
    """
    if not record.is_finished:
        raise NotFinished(f"Task {record.id} has not ended: wait for it, or cancel it first.")
    if record.arguments is None:
        raise NotRepeatable("Its arguments were not kept, because they are too large.")
    options: dict[str, Any] = {
        "hook": Task.objects.filter(pk=record.id).values_list("hook", flat=True).first(),
        "group": record.group,
        "cluster": record.queue,
        "priority": record.priority,
        "track": True,
    }
    return send(record.func, record.args, record.kwargs, options)


def resubmit_task(task: Task) -> str:
    """Repeat the call of a task with the arguments and options in its row.

    Args:
        task: the row. The arguments of an iter are a list of tuples, those of all other tasks a tuple.

    Returns:
        The id of the new task; errors as of `resubmit`.
    """
    args, kwargs = arguments_of(task)
    if isinstance(args, tuple):
        return send(task.func, args, kwargs, {"hook": task.hook, "group": task.group, "cluster": task.cluster})
    resolve(task.func)
    options: dict[str, Any] = {"group": task.group, "cluster": task.cluster, "callback": task.hook}
    return async_iter.options(**options)(task.func, args, **kwargs)


def send(func: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Send a call; return the id of the task.

    All keywords belong to the function, also those with the name of an option. The back end of a task of
    `django.tasks` sends it, with its own options.
    """
    found = locate(func)
    if not callable(found) and hasattr(found, "enqueue"):
        return str(found.enqueue(*args, **kwargs).id)
    resolve(func)
    return str(async_task.options(**options)(func, *args, **kwargs))


def arguments_of(task: Task) -> tuple[tuple[Any, ...] | list[Any], dict[str, Any]]:
    """Return the original arguments of a task.

    Raises:
        NotRepeatable: they cannot be read, or were not kept.
    """
    args = () if task.args is None else task.args
    kwargs = {} if task.kwargs is None else task.kwargs
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
        raise NotRepeatable("Its arguments cannot be read: their classes may not exist any more.")
    if isinstance(args, list) and not args and task.result:
        raise NotRepeatable("It is an iter whose arguments were not kept, because they are too large.")
    if isinstance(args, list) and not is_complete(args, task.result):
        raise NotRepeatable("It is an iter of which not all arguments are known: some were lost or cannot be read.")
    return args, kwargs


def is_complete(args: Sequence[Any], results: object) -> bool:
    """Return True if the arguments of all members of an iter are known."""
    if not isinstance(results, list) or len(results) != len(args):
        return False
    return not any(isinstance(each, str) and each.startswith(UNREADABLE) for each in args)
