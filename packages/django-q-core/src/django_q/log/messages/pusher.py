"""Messages about the pusher and its broker."""

from __future__ import annotations

import logging
import os

from django_q.log.events import Message, event
from django_q.text import one_line


@event(logging.INFO)
def ready(name: str) -> Message:
    """Log that the pusher is ready."""
    return Message("%s pushing tasks at %s", (name, os.getpid()))


@event(logging.INFO)
def stopped(name: str) -> Message:
    """Log the end of the pusher."""
    return Message("%s stopped pushing tasks", (name,))


@event(logging.ERROR)
def broker_unavailable(name: str, error: Exception) -> Message:
    """Log the start of an outage of the broker."""
    return Message("%s: broker unavailable, retrying: %s", (name, one_line(error)))


@event(logging.INFO)
def broker_available(name: str) -> Message:
    """Log the end of an outage of the broker."""
    return Message("%s: broker available again", (name,))


@event(logging.WARNING)
def server_warning(name: str, warning: str) -> Message:
    """Log a risk for packages in the configuration of the broker's server."""
    return Message("%s: %s", (name, one_line(warning)))
