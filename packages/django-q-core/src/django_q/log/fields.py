"""Fields of log records, as attributes whose names no `extra` of a project has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django_q.functions import describe
from django_q.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.models import Task
    from django_q.wire.outcome import Outcome

Fields = dict[str, str | int | float | None]
"""Values by the attributes of fields. They are plain, and texts have one line, except for `traceback`."""

FIELDS: Final = ("event", "task_id", "task_name", "func", "cluster", "queue", "attempt", "duration", "traceback")
"""Names of the fields."""

ATTRIBUTES: Final = {field: f"django_q_{field}" for field in FIELDS}
"""Attribute of a log record in which a field is."""

EVENT, TASK_ID, TASK_NAME, FUNC, CLUSTER, QUEUE, ATTEMPT, DURATION, TRACEBACK = ATTRIBUTES.values()


def of_task(task_id: object, name: object = None, func: object = None, attempt: int | None = None) -> Fields:
    """Return the fields of a task.

    Args:
        task_id: its id.
        name: its name; None if it is unknown.
        func: its function, or the dotted path; None if it is unknown.
        attempt: the attempt number; None outside of attempts.
    """
    return {
        TASK_ID: one_line(task_id),
        TASK_NAME: None if name is None else one_line(name),
        FUNC: None if func is None else one_line(describe(func)),
        ATTEMPT: attempt,
    }


def of_package(package: Mapping[str, Any], attempt: int | None = None) -> Fields:
    """Return the fields of a package, or of its metadata."""
    return of_task(package["id"], package.get("name"), package.get("func"), attempt)


def of_outcome(outcome: Outcome) -> Fields:
    """Return the fields of an outcome."""
    fields = of_task(outcome.id, outcome.name, outcome.func, outcome.attempt)
    if outcome.duration is not None:
        fields[DURATION] = round(outcome.duration, 6)
    return fields


def of_row(task: Task) -> Fields:
    """Return the fields of a saved task."""
    return of_task(task.id, task.name, task.func, task.attempt_count)
