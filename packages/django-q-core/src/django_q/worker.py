"""The function that executes the tasks in a queue of the caller, under its old name."""

from __future__ import annotations

from typing import Any, Final

from django_q.execution import Executor
from django_q.settings import current_settings
from django_q.wire.outcome import decode

IDLE: Final = -1.0
"""Value of the timer while no task runs, and while one without a timeout does."""

RECYCLED: Final = -2.0
"""Value of the timer after `recycle` tasks, or when the memory has reached `max_rss`."""

STOP: Final = "STOP"
"""Item of a queue after which its reader returns."""


def worker(task_queue: Any, result_queue: Any, timer: Any, timeout: float | None = None) -> None:
    """Execute the tasks of a queue in this process, and put them with their results into another one.

    It returns at the item `"STOP"`, and when a worker of a cluster would be recycled.

    Args:
        task_queue: queue with a method `get`, which `django_q.pusher.pusher` fills.
        result_queue: queue with a method `put`. Tasks in it have the keys `result`, `success` and `stopped`.
        timer: `multiprocessing.Value` that has the timeout of the running task in seconds, `IDLE` or `RECYCLED`.
        timeout: timeout of tasks without that option, in seconds; None for the setting `timeout`.
    """
    settings = current_settings()
    executor = Executor(settings)
    timer.value = IDLE
    for executed, package in enumerate(iter(task_queue.get, STOP), start=1):
        seconds = package.get("timeout", settings.timeout if timeout is None else timeout)
        timer.value = seconds or IDLE
        # Without `cached` and with `save`, so that the outcome has the result.
        kept = {key: value for key, value in package.items() if key not in ("cached", "timeout")} | {"save": True}
        limited: Any = kept if seconds is None else {**kept, "timeout": seconds}
        outcome = executor.execute(limited, ack_id=package.get("ack_id"), attempt=package.get("attempt_count", 1))
        finished = {key: value for key, value in package.items() if key != "timeout"}
        finished |= {"result": decode(outcome.result), "success": outcome.success, "stopped": outcome.stopped}
        result_queue.put(finished)
        timer.value = IDLE
        if executed == settings.recycle or rss_check():
            timer.value = RECYCLED
            return


def rss_check() -> bool:
    """Return True if the memory of this process has reached the setting `max_rss`."""
    limit = current_settings().max_rss
    if not limit:
        return False
    from django_q.cluster.system.memory import current_rss_kb  # Windows has no such module

    return (current_rss_kb() or 0) >= limit
