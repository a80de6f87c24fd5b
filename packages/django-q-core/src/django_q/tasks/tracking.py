"""Reads the records of tracked tasks: `status`, `record`, `records`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.db import router

from django_q.models import Record, Status
from django_q.models.labels import stored_label
from django_q.tasks import reading
from django_q.wire.option_values import invalid, lookups, required_label

if TYPE_CHECKING:
    from django.db.models import QuerySet


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
    if (found := record(task_id)) is not None:
        return Status(found.status)
    task = reading.fetch(task_id)
    return None if task is None else Status.SUCCEEDED if task.success else Status.FAILED


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
