"""Reads tracked tasks and finished ones as rows of one list, and makes the screens of `qtasks`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext as _

from django_q.models import Record, Task
from django_q.models.record import Status
from django_q.tasks import record as record_of
from django_q.tasks import records
from django_q.text import bounded, one_line, storable

from .tables import Column, Line, Segment, Table, cut
from .views import WIDE_SCREEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from django.db.models import QuerySet

MAX_VALUE_CHARACTERS: Final = 2_000
"""Maximum length of an argument list or a result on the screen."""

STYLES: Final = {
    Status.RUNNING: "green",
    Status.RETRYING: "yellow",
    Status.FAILED: "red",
    Status.CANCELLED: "yellow",
}
"""Colours of statuses."""


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """Task of the list, from its record or from the row of the finished task."""

    id: str
    name: str
    func: str
    group: str | None
    queue: str | None
    status: str
    sent: datetime
    finished: datetime | None
    attempts: int
    is_tracked: bool

    @classmethod
    def of_record(cls, record: Record) -> TaskRow:
        """Return the row of a tracked task."""
        return cls(
            id=record.id,
            name=record.name,
            func=record.func,
            group=record.group,
            queue=record.queue,
            status=record.status,
            sent=record.enqueued_at,
            finished=record.finished_at,
            attempts=record.attempt_count,
            is_tracked=True,
        )

    @classmethod
    def of_task(cls, task: Task) -> TaskRow:
        """Return the row of a finished task."""
        return cls(
            id=task.id,
            name=task.name,
            func=task.func,
            group=task.group,
            queue=task.cluster,
            status=Status.SUCCEEDED if task.success else Status.FAILED,
            sent=task.started,
            finished=task.stopped,
            attempts=task.attempt_count,
            is_tracked=False,
        )


def task_rows(limit: int, *, status: str | None = None, group: str | None = None) -> list[TaskRow]:
    """Return tracked tasks and finished tasks, those sent last first.

    Args:
        limit: maximum number of rows.
        status: a value of `Status`; None means all.
        group: label of a group; None means all.

    Raises:
        OptionError: there is no such status, or `group` has no text form.
    """
    found = {record.id: TaskRow.of_record(record) for record in tracked(limit, status, group)}
    tasks = {task.id: task for task in finished(limit, status, group)}
    known = set(Record.objects.filter(pk__in=list(tasks)).values_list("pk", flat=True))
    found |= {task.id: TaskRow.of_task(task) for task in tasks.values() if task.id not in known}
    return sorted(found.values(), key=lambda row: row.sent, reverse=True)[:limit]


def tracked(limit: int, status: str | None, group: str | None) -> QuerySet[Record]:
    """Return the last records; arguments as of `task_rows`."""
    return records(group=group, status=status).defer("arguments", "result")[:limit]


def finished(limit: int, status: str | None, group: str | None) -> Iterator[Task]:
    """Yield the last successes and failures, by an index of each; arguments as of `task_rows`."""
    wanted = [success for success, name in ((True, Status.SUCCEEDED), (False, Status.FAILED)) if status in (None, name)]
    tasks = Task.objects.all() if group is None else Task.get_task_group(group)
    for success in wanted:
        yield from tasks.filter(success=success).defer("args", "kwargs", "result").order_by("-stopped")[:limit]


def list_screen(rows: list[TaskRow], width: int) -> list[Line]:
    """Return the lines of a list of tasks for a screen of *width* characters."""
    if not rows:
        return [(Segment(cut(_("There are no tasks."), width)),)]
    columns = [
        Column(title=_("Id"), min_width=32),
        Column(title=_("Status"), min_width=9),
        Column(title=_("Name"), is_elastic=True),
        Column(title=_("Function"), is_elastic=True),
        Column(title=_("Sent"), min_screen=WIDE_SCREEN),
        Column(title=_("Attempts"), is_number=True, min_screen=WIDE_SCREEN),
    ]
    return Table(columns=columns, rows=[cells(row) for row in rows]).lines(width)


def cells(row: TaskRow) -> list[Segment]:
    """Return the cells of a task."""
    status = Status(row.status)
    return [
        Segment(one_line(row.id)),
        Segment(str(status.label), STYLES.get(status, "")),
        Segment(one_line(row.name)),
        Segment(one_line(row.func)),
        Segment(f"{row.sent:%Y-%m-%d %H:%M:%S}"),
        Segment(str(row.attempts)),
    ]


def description(task_id: str) -> dict[str, Any] | None:
    """Return all that is known of a task, by name; None if it is unknown.

    Args:
        task_id: id or name of the task.

    Returns:
        The values of its `TaskRow`; its arguments and its result as text, at most `MAX_VALUE_CHARACTERS` each; and its
        attempts, as of `Record.attempts`.
    """
    record, task = record_of(task_id), Task.get_task(task_id)
    if record is not None and (task is None or task.id != record.id):
        task = Task.objects.filter(pk=record.id).first()
    if record is not None:
        return described(TaskRow.of_record(record), record.args, record.kwargs, result_of(record, task)) | {
            "priority": record.priority,
            "run_after": record.run_after,
            "attempts": record.attempts,
        }
    if task is not None:
        return described(TaskRow.of_task(task), task.args, task.kwargs, task.result)
    return None


def result_of(record: Record, task: Task | None) -> Any:
    """Return the result of a tracked task: that of its record, or of the finished task."""
    return task.result if record.return_value is None and task is not None else record.return_value


def described(row: TaskRow, args: Any, kwargs: Any, result: Any) -> dict[str, Any]:
    """Return the values of a row, and texts of the task's arguments and result."""
    return dataclasses.asdict(row) | {"args": shown(args), "kwargs": shown(kwargs), "result": shown(result)}


def shown(value: Any) -> str:
    """Return a value of the project as text, if its `__repr__` works."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001 - code of the project
        text = f"<{type(value).__name__}: {type(error).__name__}>"
    return storable(bounded(text, MAX_VALUE_CHARACTERS))


def description_lines(values: dict[str, Any]) -> list[str]:
    """Return the description of a task as printable lines."""
    attempts = values["attempts"] if isinstance(values["attempts"], list) else []
    single = {name: value for name, value in values.items() if not (name == "attempts" and attempts)}
    lines = [f"{name}: {text}" for name, value in single.items() for text in [printable(value)] if value is not None]
    for attempt in attempts:
        lines.append(f"attempt {attempt['number']}:")
        lines += [
            f"  {name}: {printable(value)}" for name, value in attempt.items() if value is not None and name != "number"
        ]
    return lines


def printable(value: Any) -> str:
    """Return a value as lines without control characters; all but the first are indented."""
    return "\n    ".join(one_line(line) for line in str(value).splitlines())
