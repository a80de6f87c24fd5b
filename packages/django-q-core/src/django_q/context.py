"""Provides the current task to its code and to log records."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django_q.functions import describe
from django_q.log.fields import ATTRIBUTES, CLUSTER, QUEUE, TASK_ID, Fields, of_task

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CurrentTask", "TaskFilter", "current_task", "running", "stamp_records"]


@dataclass(frozen=True, kw_only=True)
class CurrentTask:
    """The task that is being executed."""

    id: str
    """Id of the task: 32 hexadecimal characters."""
    name: str
    """Name of the task."""
    func: str
    """Dotted path of its function, or the representation of a callable without one."""
    group: str | None = None
    """Label that it shares with other tasks."""
    queue: str | None = None
    """Name of the cluster that its sender named; None for that of the settings."""
    schedule: str | None = None
    """Id of the schedule that sent it."""
    attempt: int = 1
    """Attempt number, from 1. The broker delivers it with the package."""

    @classmethod
    def of(cls, package: Mapping[str, Any], attempt: int = 1) -> CurrentTask:
        """Create it from a package and an attempt number."""
        return cls(
            id=package["id"],
            name=package.get("name") or package["id"],
            func=describe(package.get("func", "")),
            group=package.get("group"),
            queue=package.get("cluster"),
            schedule=package.get("schedule"),
            attempt=attempt,
        )


class running:  # noqa: N801 - used as a context manager only
    """Make a package the current task within a block.

    This is a class, not a generator, so that the task can be created when it is first read. Most tasks do not read it,
    and to create it takes as long as to verify a package.

    Args:
        package: the package of the task.
        attempt: the attempt number.
    """

    __slots__ = ("_fields", "_task", "_token", "attempt", "package")

    def __init__(self, package: Mapping[str, Any], attempt: int = 1) -> None:
        self.package, self.attempt = package, attempt
        self._task: CurrentTask | None = None
        self._fields: Fields | None = None

    def __enter__(self) -> None:
        self._token = _current.set(self)

    def __exit__(self, *raised: object) -> None:
        _current.reset(self._token)

    @property
    def task(self) -> CurrentTask:
        """The task, created when it is first read."""
        if self._task is None:
            self._task = CurrentTask.of(self.package, self.attempt)
        return self._task

    @property
    def fields(self) -> Fields:
        """The fields of log records of the task, created when they are first read."""
        if self._fields is None:
            self._fields = of_task(self.task.id, self.task.name, self.task.func, self.attempt)
        return self._fields


_current: Final[ContextVar[running | None]] = ContextVar("django_q_task", default=None)


def current_task() -> CurrentTask | None:
    """Return the task that is being executed, or None outside of tasks."""
    block = _current.get()
    return block.task if block else None


def current_package() -> Mapping[str, Any] | None:
    """Return the package of the task that is being executed, or None outside of tasks."""
    block = _current.get()
    return block.package if block else None


DEFAULTS: Final[Fields] = {"task_id": "", "task_name": "", **dict.fromkeys(ATTRIBUTES.values())}
"""Attributes of log records outside of tasks and clusters."""


class TaskFilter(logging.Filter):
    """Adds the fields of `django_q.log.fields` to log records, and `task_id` and `task_name` of the current task.

    The two names are empty texts outside of tasks. Fields are None if they are unknown. Nothing that a record has is
    replaced. `LOGGING` adds this to a handler whose format has such names, as a filter
    `{"()": "django_q.context.TaskFilter"}`. A cluster adds it to all other handlers.
    """

    defaults: Fields = DEFAULTS
    """Attributes of records outside of tasks. In the processes of a cluster, they name it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields to a record, and return True."""
        attributes = vars(record)
        if (block := _current.get()) is not None:
            # A task may log a record about another one. Its fields must not be mixed with those of the current task.
            if TASK_ID not in attributes:
                add_missing(attributes, block.fields)
            add_missing(attributes, {"task_id": block.task.id, "task_name": block.task.name})
        add_missing(attributes, self.defaults)
        return True


def add_missing(attributes: dict[str, Any], more: Fields) -> None:
    """Add attributes to those of a log record. Those that it has are not replaced."""
    for name, value in more.items():
        if name not in attributes:
            attributes[name] = value


def stamp_records(*, cluster: str | None = None, queue: str | None = None) -> None:
    """Add a `TaskFilter` to each configured handler that has none, and name the cluster in all of them.

    With a record factory instead, a project's own `extra={"task_id": …}` would raise KeyError
    (https://docs.python.org/3/library/logging.html#logging.Logger.debug).

    Args:
        cluster: name of the cluster of this process.
        queue: queue of that cluster.
    """
    known = [logging.getLogger(name) for name in [None, *logging.getLogger().manager.loggerDict]]
    for handler in {handler for logger in known for handler in logger.handlers}:
        if not any(isinstance(each, TaskFilter) for each in handler.filters):
            handler.addFilter(TaskFilter())
        for each in handler.filters:
            if isinstance(each, TaskFilter):
                each.defaults = {**DEFAULTS, CLUSTER: cluster, QUEUE: queue}
