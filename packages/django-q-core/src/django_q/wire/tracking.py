"""Values of tracked tasks that a worker passes to the monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django_q.functions import describe
from django_q.text import truncated
from django_q.wire.option_values import LABEL_CHARACTERS, PATH_CHARACTERS
from django_q.wire.outcome import encode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class NewRecord(NamedTuple):
    """Record of a tracked task that is sent."""

    id: str
    name: str
    func: str
    group: str | None
    queue: str
    """Name of the cluster that executes the task."""
    priority: int
    enqueued_at: datetime
    arguments: str | None
    """Positional and keyword arguments, encoded."""

    @classmethod
    def of(cls, package: Mapping[str, Any], queue: str) -> Self:
        """Return the record of a package.

        Args:
            package: the package.
            queue: name of the cluster that executes it, unless it names another.
        """
        return cls(
            id=package["id"],
            name=truncated(package["name"], LABEL_CHARACTERS),
            func=truncated(describe(package["func"]), PATH_CHARACTERS),
            group=package.get("group"),
            queue=package.get("cluster") or queue,
            priority=package.get("priority") or 0,
            enqueued_at=package["started"],
            arguments=encode((package.get("args", ()), package.get("kwargs", {}))),
        )


class Started(NamedTuple):
    """Start of an attempt of a tracked task."""

    id: str
    """Id of the task."""
    attempt: int
    """Number of the attempt."""
    worker: str
    """Name of the worker."""
    moment: datetime
    """Start of the attempt, in UTC."""


class Attempted(NamedTuple):
    """Attempt of a tracked task that has ended, beside its outcome."""

    worker: str | None
    """Name of the worker; None if the attempt did not start."""
    started: datetime | None
    """Start of the attempt, in UTC; None if it did not start, or is not known."""
    exception_class: str | None = None
    """Dotted path of the class of the exception; None for a success."""
    traceback: str | None = None
    """Traceback of the exception, or the reason of the failure; None for a success."""
