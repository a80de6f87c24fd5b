"""All messages of Django Q, by topic. The event `task.processed` is logged by `messages.task.processed()`."""

from __future__ import annotations

from . import (
    cache,
    cluster,
    hook,
    iter,  # noqa: A004 - the topic of the events
    lease,
    monitor,
    process,
    pusher,
    receiver,
    reporter,
    result,
    schedule,
    scheduler,
    task,
    tracing,
    worker,
)

__all__ = [
    "cache",
    "cluster",
    "hook",
    "iter",
    "lease",
    "monitor",
    "process",
    "pusher",
    "receiver",
    "reporter",
    "result",
    "schedule",
    "scheduler",
    "task",
    "tracing",
    "worker",
]
