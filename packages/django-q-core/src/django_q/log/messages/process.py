"""Messages about any process of a cluster."""

from __future__ import annotations

import logging
import os

from django_q.log.events import Message, event
from django_q.text import error_line, one_line, traceback_of


@event(logging.INFO)
def serving_probes(name: str, address: str) -> Message:
    """Log the address of the probes."""
    return Message("%s serving probes on http://%s at %s", (name, address, os.getpid()))


@event(logging.ERROR)
def reincarnated(role: str, name: str, how: str) -> Message:
    """Log that a process has ended unexpectedly and was replaced."""
    return Message("reincarnated %s %s after %s", (role, name, how))


@event(logging.ERROR)
def not_started(name: str, role: str, error: Exception, seconds: float) -> Message:
    """Log that the system refused to start a process."""
    return Message("%s: cannot start a %s (%s), retrying in %.1f seconds", (name, role, one_line(error), seconds))


@event(logging.ERROR)
def stalled(name: str, role: str, seconds: float) -> Message:
    """Log the kill of a process without progress."""
    return Message("%s: the %s made no progress for %.0f seconds, killed", (name, role, seconds))


@event(logging.CRITICAL)
def crashed(name: str, error: BaseException) -> Message:
    """Log the end of a process by an unhandled error."""
    # The traceback is in the text: one with lone surrogates could not be written by every handler.
    return Message("%s crashed: %s\n%s", (name, error_line(error), traceback_of(error)))


@event(logging.ERROR)
def connection_closed(name: str, alias: str, seconds: float) -> Message:
    """Log that a connection was closed because the database did not answer."""
    text = "%s: no answer from database '%s' for %.0f seconds, connection closed"
    return Message(text, (name, alias, seconds))


@event(logging.DEBUG)
def connection_not_closed(name: str, alias: str, error: Exception) -> Message:
    """Log that the connection to a database without answer could not be closed."""
    return Message("%s: connection to database '%s' not closed (%s)", (name, alias, error_line(error)))
