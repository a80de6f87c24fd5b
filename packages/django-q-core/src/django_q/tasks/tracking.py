"""Follows and cancels tasks: `status`, `record`, `records`, `cancel`, `cancel_group`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import router

from django_q.models import Record, Status
from django_q.models.labels import stored_label
from django_q.records.cancelling import cancel_task, cancel_tasks_of
from django_q.tasks import reading
from django_q.wire.option_values import invalid, lookups, required_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet

    from django_q.models import Task


def record(task_id: object) -> Record | None:
    """Return the record of a tracked task.

    Args:
        task_id: id or name of the task.

    Returns:
        The record; None if the task is not tracked, or if its record was deleted (settings `keep_records` and
        `max_records`). Of several tasks with the name, the record of the one that was sent last.

    Raises:
        OptionError: `task_id` is None or a container.
    """
    for column, value in lookups(task_id):
        found = _rows().filter(**{column: stored_label(Record, value)}).order_by("-enqueued_at").first()
        if found is not None:
            return found
    return None


def records(*, group: object = None, status: str | None = None) -> QuerySet[Record]:
    """Return the records of tracked tasks, those sent last first.

    Args:
        group: label of their group; None means all.
        status: their status, a value of `Status`; None means all.

    Raises:
        OptionError: `group` has no text form, or there is no such status.
    """
    found = _rows().order_by("-enqueued_at", "pk")
    if group is not None:
        found = found.filter(group=stored_label(Record, required_label("group", group)))
    if status is not None:
        if status not in Status.values:
            raise invalid("status", status, f"one of {', '.join(Status.values)}")
        found = found.filter(status=status)
    return found


def status(task_id: object) -> Status | None:
    """Return the status of a task.

    Args:
        task_id: id or name of the task.

    Returns:
        The status of a tracked task. Of any other task, `Status.SUCCEEDED` or `Status.FAILED` if its result is saved,
        and None otherwise, because it is not known.

    Raises:
        OptionError: `task_id` is None or a container.
        ResultsUnavailable: the cache is unavailable.
    """
    return status_of(record(task_id), lambda: reading.fetch(task_id))


def status_of(found: Record | None, fetch: Callable[[], Task | None]) -> Status | None:
    """Return the status of a task from its record; without one, from the finished task.

    Args:
        found: the record; None if the task is not tracked.
        fetch: returns the finished task; None if it is not finished.
    """
    if found is not None:
        return Status(found.status)
    task = fetch()
    return None if task is None else Status.SUCCEEDED if task.success else Status.FAILED


def cancel(task_id: object) -> bool:
    """Cancel a task. It is not executed any more, and there is no retry.

    A task that waits is not executed when it is fetched; members of an iter and delayed tasks included. A running one
    gets `TaskCancelled`, a coroutine `asyncio.CancelledError`, within two seconds; if it does not end, its worker is
    killed two seconds later. The next links of its chain are not sent. Its hook is called. Clusters of the public
    editions execute it nevertheless.

    Args:
        task_id: id of the task or iter; of a tracked task, also its name.

    Returns:
        True if the cancellation was requested; False if the task has ended, so that nothing was changed.

    Raises:
        OptionError: `task_id` is None or a container.
    """
    found = record(task_id)
    if found is None and reading.fetch(task_id) is not None:
        return False
    return cancel_task(lookups(task_id)[0][1] if found is None else found.pk)


def cancel_group(group: object) -> int:
    """Cancel all tasks of a group that were sent until now, as `cancel` does. A chain is a group.

    Args:
        group: label of the group.

    Returns:
        The number of tracked tasks that had not ended.

    Raises:
        OptionError: `group` is None or a container.
    """
    return cancel_tasks_of(required_label("group", group))


async def acancel(task_id: object) -> bool:
    """Cancel a task like `cancel`, without blocking the event loop."""
    return await sync_to_async(cancel)(task_id)


async def acancel_group(group: object) -> int:
    """Cancel the tasks of a group like `cancel_group`, without blocking the event loop."""
    return await sync_to_async(cancel_group)(group)


async def arecord(task_id: object) -> Record | None:
    """Return the record of a tracked task like `record`, without blocking the event loop."""
    return await sync_to_async(record)(task_id)


async def arecords(*, group: object = None, status: str | None = None) -> list[Record]:
    """Return the records of tracked tasks like `records`, as a list, without blocking the event loop."""
    return await sync_to_async(lambda: list(records(group=group, status=status)))()


async def astatus(task_id: object) -> Status | None:
    """Return the status of a task like `status`, without blocking the event loop."""
    return await sync_to_async(status)(task_id)


def _rows() -> QuerySet[Record]:
    """Return all records, in the database that is written: a replica may lag."""
    return Record.objects.using(router.db_for_write(Record))
