"""Messages about a worker."""

from __future__ import annotations

import logging
import os

from django_q.log.events import Message, event
from django_q.text import error_line


@event(logging.WARNING)
def cancelled(name: str) -> Message:
    """Log the kill of a worker whose cancelled task did not end."""
    return Message("%s: its cancelled task did not end, worker killed", (name,))


@event(logging.INFO)
def ready(name: str) -> Message:
    """Log that a worker is ready."""
    return Message("%s ready for work at %s", (name, os.getpid()))


@event(logging.INFO)
def stopped(name: str) -> Message:
    """Log the end of a worker."""
    return Message("%s stopped doing work", (name,))


@event(logging.INFO)
def recycled(name: str) -> Message:
    """Log that a worker was recycled."""
    return Message("recycled worker %s", (name,))


@event(logging.ERROR)
def timed_out(name: str) -> Message:
    """Log the kill of a worker whose task ignored the exception of its timeout."""
    return Message("%s: task exceeded its timeout, worker killed", (name,))


@event(logging.WARNING)
def interrupted(name: str) -> Message:
    """Log the kill of a worker whose task did not end within `stop_timeout`."""
    text = "%s: task did not end within stop_timeout, worker killed, task will be redelivered"
    return Message(text, (name,))


@event(logging.WARNING)
def not_exiting(name: str) -> Message:
    """Log the kill of a worker that has ended its work and does not exit."""
    return Message("%s: did not exit in time (a task left a thread or process behind), killed", (name,))


@event(logging.WARNING)
def not_restored(name: str, error: BaseException) -> Message:
    """Log that the state of a worker could not be restored after a task."""
    return Message("%s: its state could not be restored after a task (%s), worker replaced", (name, error_line(error)))


@event(logging.WARNING)
def leaked_files(name: str) -> Message:
    """Log that tasks have left too many files open."""
    return Message("%s: tasks left too many files open, worker replaced", (name,))
