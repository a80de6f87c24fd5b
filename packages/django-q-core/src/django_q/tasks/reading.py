"""Calls that ask for results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.models import Task
from django_q.results.waiting import MISSING, wait_for

if TYPE_CHECKING:
    from django_q.results.waiting import Missing


def fetch(task_id: str, wait: float = 0) -> Task | None:
    """The finished task, or None; `wait` in milliseconds, -1 for ever."""
    found = wait_for(lambda: _read(task_id), wait)
    return found if isinstance(found, Task) else None


def result(task_id: str, wait: float = 0) -> Any:
    """What the task returned, or None; `wait` in milliseconds, -1 for ever."""
    task = fetch(task_id, wait)
    return None if task is None else task.result


def _read(task_id: str) -> Task | Missing:
    return Task.get_task(task_id) or MISSING
