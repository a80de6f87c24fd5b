"""Messages about a task."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django_q.log.events import Message, event
from django_q.log.fields import FUNC, QUEUE, TASK_ID, TASK_NAME, TRACEBACK, of_outcome, of_package
from django_q.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_q.wire.outcome import Outcome


@event(logging.INFO)
def enqueued(package: Mapping[str, Any], queue: str) -> Message:
    """Log that a task was sent."""
    fields = of_package(package) | {QUEUE: one_line(queue)}
    return Message("Enqueued [%s] %s", (queue, fields[TASK_ID]), fields)


@event(logging.DEBUG)
def pushed(package: Mapping[str, Any], queue: str) -> Message:
    """Log the name of a task that was sent."""
    return Message("Pushed (%r, %r)", (package["name"], package["id"]), of_package(package) | {QUEUE: one_line(queue)})


@event(logging.INFO)
def processing(name: str, package: Mapping[str, Any], attempt: int) -> Message:
    """Log the start of an attempt."""
    fields = of_package(package, attempt)
    group = f" [{one_line(package['group'])}]" if package.get("group") else ""
    return Message("%s processing %s '%s'%s", (name, fields[TASK_NAME], fields[FUNC], group), fields)


@event(logging.INFO)
def processed(outcome: Outcome) -> Message:
    """Log that a success is saved."""
    fields = of_outcome(outcome)
    return Message("Processed '%s' (%s)", (fields[FUNC], fields[TASK_NAME]), fields)


@event(logging.ERROR)
def failed(outcome: Outcome, traceback: str | None) -> Message:
    """Log that a failure is saved."""
    fields = of_outcome(outcome) | {TRACEBACK: traceback}
    after = "" if outcome.duration is None else f" after {outcome.duration:.3f} s"
    values = fields[FUNC], fields[TASK_NAME], outcome.attempt, fields[TASK_ID], after, one_line(outcome.error)
    return Message("Failed '%s' (%s), attempt %d of task %s%s - %s", values, fields)


@event(logging.WARNING)
def cancelled(outcome: Outcome) -> Message:
    """Log that a task was cancelled."""
    fields = of_outcome(outcome)
    return Message("Cancelled '%s' (%s)", (fields[FUNC], fields[TASK_NAME]), fields)


@event(logging.WARNING)
def interrupted(name: str, package: Mapping[str, Any], attempt: int) -> Message:
    """Log that the stop interrupted a running task."""
    text = "%s: task %s was interrupted by the shutdown and will be redelivered"
    return Message(text, (name, one_line(package["name"])), of_package(package, attempt))


@event(logging.ERROR)
def dead_lettered(name: str, reason: str) -> Message:
    """Log that an unreadable package became a dead letter."""
    return Message("%s: package moved to the dead letters: %s", (name, one_line(reason)))


@event(logging.ERROR)
def look_up_failed(name: str, package: Mapping[str, Any], error: BaseException) -> Message:
    """Log that the look-up of a redelivered task's earlier success failed."""
    text = "%s: look-up of an earlier success failed, retrying: %s"
    return Message(text, (name, one_line(error)), of_package(package))


@event(logging.WARNING)
def look_up_hung(name: str, package: Mapping[str, Any], attempt: int, reason: str) -> Message:
    """Log that the look-up of a redelivered task's earlier success did not return."""
    text = "%s: look-up of an earlier success of task %s did not return (%s), task will be redelivered"
    return Message(text, (name, one_line(package["name"]), one_line(reason)), of_package(package, attempt))
