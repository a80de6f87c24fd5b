"""Messages about the cache."""

from __future__ import annotations

import logging

from django_q.log.events import Message, event
from django_q.text import one_line


@event(logging.WARNING)
def paused(kind: str, done: str, reason: str, seconds: float) -> Message:
    """Log that the cache is not used for counts for a while, because it failed or was slow."""
    text = "Cache: counts of %s cannot be %s (%s), next attempt in %g s"
    return Message(text, (kind, done, one_line(reason), seconds))


@event(logging.WARNING)
def not_shared(alias: str) -> Message:
    """Log that a cached task was sent, but its result cannot be read, because processes do not share the cache."""
    text = "Cache: %r is not shared by processes, so the results of cached tasks cannot be read"
    return Message(text, (one_line(alias),))


@event(logging.DEBUG)
def links_not_marked(error: Exception) -> Message:
    """Log that the cache could not remember which links of chains were sent."""
    return Message("Chains: cache unavailable (%s), sent links are not marked", (one_line(error),))


@event(logging.DEBUG)
def links_not_read(error: Exception) -> Message:
    """Log that the cache could not tell which links of chains were sent."""
    return Message("Chains: cache unavailable (%s), marks of sent links are not read", (one_line(error),))
