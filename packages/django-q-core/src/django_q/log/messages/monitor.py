"""Messages about the monitor."""

from __future__ import annotations

import logging
import os

from django_q.log.events import Message, event
from django_q.text import error_line, one_line


@event(logging.INFO)
def ready(name: str) -> Message:
    """Log that the monitor is ready."""
    return Message("%s monitoring at %s", (name, os.getpid()))


@event(logging.INFO)
def stopped(name: str) -> Message:
    """Log the end of the monitor."""
    return Message("%s stopped monitoring results", (name,))


@event(logging.ERROR)
def saving_failed(name: str, error: Exception) -> Message:
    """Log that results cannot be saved, because a server is unavailable."""
    return Message("%s: saving results failed, retrying: %s", (name, one_line(error)))


@event(logging.INFO)
def saving_resumed(name: str) -> Message:
    """Log that results are saved again."""
    return Message("%s: saving results succeeded again", (name,))


@event(logging.ERROR)
def results_not_saved(name: str, count: int) -> Message:
    """Log that the cluster stopped while a server was unavailable, so that results are not saved."""
    return Message("%s: %d results not saved, tasks will be redelivered after lease expiry", (name, count))


@event(logging.WARNING)
def activity_not_written(name: str, error: Exception) -> Message:
    """Log that the last numbers for the charts of the admin are lost."""
    return Message("%s: the last activity is not written (%s), the charts lack it", (name, error_line(error)))
