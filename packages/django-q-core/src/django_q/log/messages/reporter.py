"""Messages about error reporters."""

from __future__ import annotations

import logging

from django_q.log.events import Message, event
from django_q.text import error_line, type_name


@event(logging.ERROR)
def not_started(name: str, error: Exception) -> Message:
    """Log that an error reporter of the settings could not be created."""
    text = "Error reporter %r could not be started: correct Q_CLUSTER['error_reporter']."
    return Message(text, (name,), error=error)


@event(logging.ERROR)
def failed(reporter: object, error: BaseException) -> Message:
    """Log that an error reporter raised an exception."""
    return Message(
        "Error reporter %s failed and is not called again in this process; the task's outcome stands.",
        (type_name(reporter),),
        error=error,
    )


@event(logging.ERROR)
def not_called(error: BaseException) -> Message:
    """Log that the error reporters could not be called for a failure."""
    return Message("A failure cannot be reported: %s", (error_line(error),))


@event(logging.ERROR)
def too_slow(seconds: float) -> Message:
    """Log that the error reporters did not return in time."""
    text = "The error reporters did not return within %g seconds and are not called again in this process."
    return Message(text, (seconds,))
