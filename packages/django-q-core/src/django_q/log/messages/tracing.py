"""Messages about traces."""

from __future__ import annotations

import logging

from django_q.log.events import Message, event


@event(logging.WARNING)
def failed(error: Exception) -> Message:
    """Log that the SDK of OpenTelemetry raised an exception. Further ones of this process are not logged."""
    return Message("Tracing: the SDK of OpenTelemetry failed, tasks are not affected", error=error)
