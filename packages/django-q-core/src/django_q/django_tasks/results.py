"""Results of `django.tasks`, made from the records of their tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django_q.django_tasks.api import AnyResult, AnyTask, TaskError, TaskResult, TaskResultStatus
from django_q.models import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from django_q.models import Record

STATUSES: Final[Mapping[str, TaskResultStatus]] = {
    Status.QUEUED: TaskResultStatus.READY,
    Status.SCHEDULED: TaskResultStatus.READY,
    Status.RETRYING: TaskResultStatus.READY,
    Status.RUNNING: TaskResultStatus.RUNNING,
    Status.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    Status.FAILED: TaskResultStatus.FAILED,
    Status.CANCELLED: TaskResultStatus.FAILED,
}
"""Status of a result for each status of a record."""

CANCELLED: Final = TaskError(
    exception_class_path="django_q.exceptions.TaskCancelled", traceback="The task was cancelled before it started."
)
"""Error of a task that was cancelled before it started."""


def new_result(
    task: AnyTask, task_id: str, alias: str, enqueued_at: datetime, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> AnyResult:
    """Return the result of a task that was sent just now.

    Args:
        task: the task.
        task_id: id of the task.
        alias: alias of its back end.
        enqueued_at: time at which it was sent.
        args: its positional arguments, in JSON types.
        kwargs: its keyword arguments, in JSON types.
    """
    return TaskResult(
        task=task,
        id=task_id,
        status=TaskResultStatus.READY,
        enqueued_at=enqueued_at,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=list(args),
        kwargs=dict(kwargs),
        backend=alias,
        errors=[],
        worker_ids=[],
    )


def result_of(record: Record, task: AnyTask) -> AnyResult:
    """Return the result of a tracked task.

    Args:
        record: its record.
        task: the task.
    """
    result = new_result(task, record.pk, record.backend, record.enqueued_at, record.args, record.kwargs)
    change(
        result,
        status=STATUSES[record.status],
        started_at=record.started_at,
        finished_at=record.finished_at,
        last_attempted_at=record.last_attempted_at,
        errors=errors_of(record),
        worker_ids=[each["worker"] for each in record.attempts if each["worker"]],
    )
    if record.status == Status.SUCCEEDED:
        change(result, _return_value=record.return_value)
    return result


def errors_of(record: Record) -> list[TaskError]:
    """Return the error of each attempt that failed."""
    errors = [
        TaskError(exception_class_path=each["exception_class"], traceback=each["traceback"] or "")
        for each in record.attempts
        if each["exception_class"]
    ]
    return errors or ([CANCELLED] if record.status == Status.CANCELLED else [])


def change(result: AnyResult, **values: Any) -> None:
    """Set attributes of a result, which is frozen for everybody else."""
    for name, value in values.items():
        object.__setattr__(result, name, value)
