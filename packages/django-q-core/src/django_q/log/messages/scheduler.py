"""Messages about the scheduler process and its maintenance."""

from __future__ import annotations

import logging
import os

from django_q.log.events import Message, event
from django_q.text import error_line, one_line, traceback_of


@event(logging.INFO)
def ready(name: str) -> Message:
    """Log that the scheduler is ready."""
    return Message("%s scheduling at %s", (name, os.getpid()))


@event(logging.INFO)
def stopped(name: str) -> Message:
    """Log the end of the scheduler."""
    return Message("%s stopped scheduling", (name,))


@event(logging.ERROR)
def unavailable(name: str, error: Exception) -> Message:
    """Log that due schedules cannot be sent, because the database or the broker is unavailable."""
    return Message("%s: cannot send due schedules (%s), retrying", (name, error_line(error)))


@event(logging.ERROR)
def failed(name: str, error: Exception) -> Message:
    """Log that due schedules cannot be sent, although all servers are available."""
    text = "%s: cannot send due schedules (%s), retrying\n%s"
    return Message(text, (name, error_line(error), traceback_of(error)))


@event(logging.INFO)
def resumed(name: str) -> Message:
    """Log that due schedules are sent again."""
    return Message("%s: scheduling resumed", (name,))


@event(logging.INFO)
def times_converted(name: str, count: int) -> Message:
    """Log that times were converted because the project has changed `USE_TZ` or `TIME_ZONE`."""
    text = "%s: times of %d schedules converted to the new time zone of the database (USE_TZ)"
    return Message(text, (name, count))


@event(logging.ERROR)
def maintenance_failed(name: str, error: Exception, *, with_traceback: bool) -> Message:
    """Log that maintenance failed."""
    # The traceback as text: one with lone surrogates could not be written by every handler.
    trace = f"\n{traceback_of(error)}" if with_traceback else ""
    return Message("%s: maintenance failed (%s), retrying%s", (name, error_line(error), trace))


@event(logging.ERROR)
def commands_unavailable(name: str, error: Exception) -> Message:
    """Log that commands cannot be read, because the database is unavailable."""
    return Message("%s: cannot read commands (%s), retrying", (name, error_line(error)))


@event(logging.INFO)
def commands_resumed(name: str) -> Message:
    """Log that commands are read again."""
    return Message("%s: commands are read again", (name,))


@event(logging.WARNING)
def command_not_passed(name: str, target: str) -> Message:
    """Log that a command did not reach the sentinel: a running task is not interrupted."""
    text = "%s: the sentinel is busy, running task %s is not interrupted"
    return Message(text, (name, one_line(target)))


@event(logging.INFO)
def stop_commanded(name: str) -> Message:
    """Log that a command stops this cluster."""
    return Message("%s: a command stops this cluster", (name,))


@event(logging.INFO)
def maintenance_resumed(name: str) -> Message:
    """Log that maintenance succeeded after a failure."""
    return Message("%s: maintenance succeeded again", (name,))
