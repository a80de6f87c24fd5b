"""Messages about leases of packages."""

from __future__ import annotations

import logging

from django_q.log.events import Message, event
from django_q.text import one_line


@event(logging.WARNING)
def expired(name: str, count: int) -> Message:
    """Log that the leases of waiting tasks were lost."""
    return Message("%s: %d leases expired, tasks will be redelivered", (name, count))


@event(logging.WARNING)
def expired_before_start(name: str) -> Message:
    """Log that the lease of a task may have expired before the task began."""
    return Message("%s: lease of a task expired before its start, task will be redelivered", (name,))


@event(logging.WARNING)
def not_released(name: str, count: int, error: Exception) -> Message:
    """Log that tasks could not be released."""
    text = "%s: could not release %d tasks, redelivered after lease expiry: %s"
    return Message(text, (name, count, one_line(error)))


@event(logging.WARNING)
def not_renewed(name: str, error: BaseException) -> Message:
    """Log that leases of unsaved results could not be renewed."""
    return Message("%s: leases of unsaved results could not be renewed, retrying: %s", (name, one_line(error)))


@event(logging.INFO)
def renewed(name: str) -> Message:
    """Log that leases of unsaved results are renewed again."""
    return Message("%s: leases of unsaved results are renewed again", (name,))
