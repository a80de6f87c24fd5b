"""Messages about hooks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_q.functions import describe
from django_q.log.events import Message, event
from django_q.log.fields import of_outcome, of_row
from django_q.text import one_line

if TYPE_CHECKING:
    from django_q.models import Task
    from django_q.wire.outcome import Outcome


@event(logging.ERROR)
def failed(hook: object, task: Task, error: BaseException) -> Message:
    """Log that a hook raised an exception."""
    values = one_line(describe(hook)), one_line(task.name), task.id, one_line(error)
    return Message("Hook '%s' of %s (%s) failed: %s", values, of_row(task), error)


@event(logging.ERROR)
def unreadable(error: BaseException) -> Message:
    """Log that a hook is not called, because its finished task cannot be unpickled."""
    return Message("Follow-up: finished task unreadable, its hook is not called", error=error)


@event(logging.ERROR)
def died(name: str, outcome: Outcome | None, reason: str) -> Message:
    """Log that a hook ended its worker."""
    fields = None if outcome is None else of_outcome(outcome)
    return Message("%s: a hook did not return: %s", (name, one_line(reason)), fields)


@event(logging.WARNING)
def not_run(name: str, count: int) -> Message:
    """Log that no worker executed some hooks before the end of the stop."""
    text = "%s: %d hooks did not run before the shutdown, their packages will be redelivered"
    return Message(text, (name, count))
