"""Values of tracked tasks that a worker passes to the monitor."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django_q.functions import describe
from django_q.text import truncated
from django_q.wire.option_values import LABEL_CHARACTERS, PATH_CHARACTERS
from django_q.wire.outcome import encode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def worker_name(cluster_id: str, process: str) -> str:
    """Return a name of a worker that no other worker of the site has at the same time.

    Args:
        cluster_id: id of its cluster.
        process: name of its process, unique in the cluster.
    """
    return f"{socket.gethostname()}/{cluster_id[:8]}/{process}"


class NewRecord(NamedTuple):
    """Record of a tracked task that is sent."""

    id: str
    name: str
    func: str
    group: str | None
    queue: str
    """Name of the cluster that executes the task."""
    backend: str
    """Alias of the back end of `django.tasks` that sends it; empty for Django Q's own API."""
    priority: int
    enqueued_at: datetime
    arguments: str | None
    """Positional and keyword arguments: encoded, or in JSON for a task of `django.tasks`."""
    run_after: datetime | None
    """Time of its earliest execution that the sender gave; None if that follows from a delay, or there is none."""

    @classmethod
    def of(cls, package: Mapping[str, Any], queue: str) -> Self:
        """Return the record of a package.

        Args:
            package: the package.
            queue: name of the cluster that executes it, unless it names another.
        """
        arguments, backend = (package.get("args", ()), package.get("kwargs", {})), package.get("backend", "")
        return cls(
            id=package["id"],
            name=truncated(package["name"], LABEL_CHARACTERS),
            func=truncated(describe(package["func"]), PATH_CHARACTERS),
            group=package.get("group"),
            queue=package.get("cluster") or queue,
            priority=package.get("priority") or 0,
            enqueued_at=package["started"],
            backend=backend,
            arguments=json.dumps(arguments) if backend else encode(arguments),
            run_after=package.get("run_after"),
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
    json: str | None = None
    """Return value of a task of `django.tasks`, in JSON; None for a failure, and for any other task."""
