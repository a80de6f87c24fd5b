"""Cancels tasks: writes the commands that clusters read, and finds out if a task is cancelled."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import router, transaction
from django.db.models import Q

from django_q.clock import now
from django_q.models import FINAL, WAITING, Command, Record, Status
from django_q.models.labels import stored_label
from django_q.wire.targets import GROUP, TASK, cancellable_since, targets_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from django.db.models import QuerySet

COMMAND_LIFETIME: Final = timedelta(days=30)
"""Time for which a command is kept, counted from the earliest execution of its task if that is known."""


def cancel_task(task_id: str) -> bool:
    """Cancel a task, or all members of an iter.

    Args:
        task_id: id of the task or iter.

    Returns:
        False if the record of the task says that it has ended; then nothing changes.
    """
    rows = records().filter(pk=task_id)
    found = rows.values_list("status", "run_after").first()
    if found is not None and found[0] in FINAL:
        return False
    command(TASK, task_id, rows, found and found[1])
    return True


def cancel_tasks_of(group: str) -> int:
    """Cancel the tasks of a group that were sent until now.

    Args:
        group: label of the group.

    Returns:
        The number of tracked tasks that had not ended.
    """
    rows = records().filter(group=stored_label(Record, group)).exclude(status__in=FINAL)
    latest = rows.order_by("-run_after").exclude(run_after=None).values_list("run_after", flat=True).first()
    return command(GROUP, group, rows, latest)


def command(kind: str, target: str, rows: QuerySet[Record], run_after: datetime | None) -> int:
    """Write a command to all clusters, and update the records of its tasks.

    Args:
        kind: kind of the command.
        target: id or label.
        rows: records of the tasks.
        run_after: earliest execution of the last of them; None means now.

    Returns:
        The number of records that were changed.
    """
    present = now()
    expires_at = max(present, run_after or present) + COMMAND_LIFETIME
    with transaction.atomic(using=router.db_for_write(Command)):
        Command._base_manager.using(router.db_for_write(Command)).create(
            kind=kind, target=stored_label(Record, target), created_at=present, expires_at=expires_at
        )
        changed = rows.filter(status=Status.RUNNING).update(cancel_requested_at=present)
        return changed + rows.filter(status__in=WAITING).update(
            status=Status.CANCELLED, cancel_requested_at=present, finished_at=present
        )


def records() -> QuerySet[Record]:
    """Return all records, unordered, in the database that is written."""
    return Record._base_manager.using(router.db_for_write(Record)).order_by()


def is_cancelled(package: Mapping[str, Any]) -> bool:
    """Return True if there is a command that cancels a task.

    Raises:
        django.db.DatabaseError: the database is unavailable.
    """
    using = router.db_for_write(Command)
    any_target = Q()
    for kind, target in targets_of(package):
        any_target |= Q(kind=kind, target=stored_label(Record, target))
    return Command._base_manager.using(using).filter(any_target, created_at__gte=cancellable_since(package)).exists()
