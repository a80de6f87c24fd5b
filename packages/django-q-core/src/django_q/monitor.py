"""Functions with the name `monitor`, and the statistics under the path of the manual.

django-q2 has the function that saves results here, and django-q the one that shows the clusters. Their arguments tell
which one is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q import monitor_terminal
from django_q.brokers import get_broker
from django_q.execution.outcome_builder import OutcomeBuilder
from django_q.finishing import Finisher
from django_q.monitor_terminal import get_ids, get_process_mb, info, memory
from django_q.settings import current_settings
from django_q.status import Stat, Status
from django_q.worker import STOP

if TYPE_CHECKING:
    from django_q.brokers import Broker
    from django_q.wire.outcome import Outcome

__all__ = [
    "Stat",
    "Status",
    "get_ids",
    "get_process_mb",
    "info",
    "memory",
    "monitor",
    "save_cached",
    "save_task",
]


def monitor(result_queue: Any = None, broker: Broker | None = None, *, run_once: bool = False) -> None:
    """Save and acknowledge the finished tasks of a queue until the item `"STOP"`; without a queue, show the clusters.

    Saving includes what a cluster does after it: links of chains, receivers of `post_execute` and hooks.

    Args:
        result_queue: queue with a method `get`, which `django_q.worker.worker` fills. None or a boolean, which is
            *run_once* then, calls `django_q.monitor_terminal.monitor`.
        broker: broker of the tasks; None for that of the settings.
        run_once: True to print one screen. It has no effect with a queue.
    """
    if result_queue is None or isinstance(result_queue, bool):
        monitor_terminal.monitor(run_once=run_once or bool(result_queue), broker=broker)
        return
    finisher = Finisher(current_settings(), broker or get_broker())
    for package in iter(result_queue.get, STOP):
        finisher.finish([_outcome(package, acknowledged=True)])


def save_task(task: dict[str, Any], broker: Broker | None = None) -> None:
    """Save a finished task, send the next link of its chain and call its hook. It is not acknowledged.

    Args:
        task: package with `result`, `success` and `stopped`.
        broker: broker of the next link; None for that of the settings.
    """
    Finisher(current_settings(), broker or get_broker()).finish([_outcome(task)])


def save_cached(task: dict[str, Any], broker: Broker | None = None) -> None:
    """Save a finished task in the cache, for `cached` seconds if that is a number. Otherwise as `save_task`."""
    save_task({**task, "cached": task.get("cached") or True}, broker)


def _outcome(task: dict[str, Any], *, acknowledged: bool = False) -> Outcome:
    package = {key: value for key, value in task.items() if key != "ack_id"}
    ack_id = task.get("ack_id") if acknowledged else None
    return OutcomeBuilder(current_settings()).build(package, ack_id=ack_id, attempt=task.get("attempt_count", 1))
