"""Saved tasks of a site, and assertions about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

if TYPE_CHECKING:
    from .site import Site

ROW = "dict(success=task.success, result=task.result, attempt=task.attempt_count, args=task.args)"


@dataclass(frozen=True, kw_only=True)
class SavedTask:
    """The row of a task; values that JSON does not have are strings."""

    success: bool
    result: Any
    attempt: int
    args: list[Any]


def saved(site: Site, task_id: str) -> SavedTask | None:
    """Return a task, or None if it is not saved yet."""
    row = site.run(f"from django_q.tasks import fetch\ntask = fetch({task_id!r})\nanswer = task and {ROW}")
    return row and SavedTask(**row)


def finished(site: Site, call: str) -> SavedTask:
    """Send a task by a call of `async_task`, wait for its end and return it."""
    code = f"from django_q.tasks import async_task, fetch\ntask = fetch({call}, 20_000)\nanswer = task and {ROW}"
    row = site.run(code)
    assert row, f"{call}: not finished in 20 seconds"
    return SavedTask(**row)


def assert_succeeded(task: SavedTask | None, *, result: object = ANY, attempt: object = ANY) -> None:
    """Assert that a task is saved as a success."""
    assert task
    assert task.success, task.result
    assert (task.result, task.attempt) == (result, attempt)


def assert_failed(task: SavedTask | None, *, error: str = "", attempt: object = ANY) -> None:
    """Assert that a task is saved as a failure whose result contains a text."""
    assert task
    assert not task.success, task.result
    assert error in task.result
    assert task.attempt == attempt
