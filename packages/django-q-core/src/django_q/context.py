"""The task that is running, for the code that it runs."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django_q.functions import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CurrentTask", "TaskFilter", "current_task", "running", "stamp_records"]


@dataclass(frozen=True, kw_only=True)
class CurrentTask:
    """A task while it runs."""

    id: str
    """Its id: 32 hexadecimal characters."""
    name: str
    """Its name, for people."""
    func: str
    """The dotted path of its function, or what a callable without one calls itself."""
    group: str | None = None
    """The label it shares with others."""
    schedule: str | None = None
    """The schedule that sent it, by its id."""
    attempt: int = 1
    """The attempt number, 1 for the first: the broker delivers it with the package."""

    @classmethod
    def of(cls, package: Mapping[str, Any], attempt: int = 1) -> CurrentTask:
        """Make it from a package."""
        return cls(
            id=package["id"],
            name=package.get("name") or package["id"],
            func=describe(package.get("func", "")),
            group=package.get("group"),
            schedule=package.get("schedule"),
            attempt=attempt,
        )


class running:  # noqa: N801 - reads as the block that it is
    """Make a package the current task, for as long as the block lasts.

    A class, and the task is made when somebody asks: most tasks do not, and to make it takes as long as to verify them.

    Args:
        package: the task's.
        attempt: the attempt number.
    """

    __slots__ = ("_task", "_token", "attempt", "package")

    def __init__(self, package: Mapping[str, Any], attempt: int = 1) -> None:
        self.package, self.attempt = package, attempt
        self._task: CurrentTask | None = None

    def __enter__(self) -> None:
        self._token = _current.set(self)

    def __exit__(self, *raised: object) -> None:
        _current.reset(self._token)

    @property
    def task(self) -> CurrentTask:
        """The task, the same each time."""
        if self._task is None:
            self._task = CurrentTask.of(self.package, self.attempt)
        return self._task


_current: Final[ContextVar[running | None]] = ContextVar("django_q_task", default=None)


def current_task() -> CurrentTask | None:
    """The task this code runs in, or None outside of tasks."""
    block = _current.get()
    return block.task if block else None


class TaskFilter(logging.Filter):
    """Gives each log record `task_id` and `task_name`: of the task it was made in, or empty text.

    For handlers of `LOGGING` whose format names them, as a filter of `{"()": "django_q.context.TaskFilter"}`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp the record and let it pass."""
        stamp(record)
        return True


def stamp(record: logging.LogRecord) -> None:
    """Write the current task into a log record; what the caller's `extra` says is kept."""
    task = current_task()
    for name, value in (("task_id", task.id if task else ""), ("task_name", task.name if task else "")):
        if not hasattr(record, name):
            setattr(record, name, value)


def stamp_records() -> None:
    """Have every handler that is configured now stamp its records; a second call changes nothing.

    Not in the record factory: there, a project's own `extra={"task_id": …}` raises KeyError
    (https://docs.python.org/3/library/logging.html#logging.Logger.debug).
    """
    known = [logging.getLogger(name) for name in [None, *logging.getLogger().manager.loggerDict]]
    for handler in {handler for logger in known for handler in logger.handlers}:
        if not any(isinstance(each, TaskFilter) for each in handler.filters):
            handler.addFilter(TaskFilter())
