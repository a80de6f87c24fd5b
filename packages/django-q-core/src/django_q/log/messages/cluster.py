"""Messages about a cluster as a whole."""

from __future__ import annotations

import logging

from django_q.log.events import Message, event
from django_q.text import one_line


@event(logging.INFO)
def starting(cluster: str) -> Message:
    """Log the start of a cluster."""
    return Message("Q Cluster %s starting.", (cluster,))


@event(logging.WARNING)
def waiting(queue: str, reason: str) -> Message:
    """Log that a cluster waits for a server before it starts."""
    return Message("Q Cluster [%s] waits to start, and tries again: %s", (queue, reason))


@event(logging.INFO)
def running(cluster: str, queue: str) -> Message:
    """Log that all processes of a cluster have started."""
    return Message("Q Cluster %s running. [%s]", (cluster, queue))


@event(logging.INFO)
def guarded(name: str, cluster: str, queue: str) -> Message:
    """Log that the sentinel of a cluster is ready."""
    return Message("%s guarding cluster %s [%s]", (name, cluster, queue))


@event(logging.INFO)
def stopping(cluster: str) -> Message:
    """Log the start of the stop procedure."""
    return Message("Q Cluster %s stopping.", (cluster,))


@event(logging.INFO)
def stopping_processes(name: str) -> Message:
    """Log that the sentinel stops the other processes."""
    return Message("%s stopping cluster processes", (name,))


@event(logging.INFO)
def stopped(cluster: str) -> Message:
    """Log that all processes of a cluster have ended."""
    return Message("Q Cluster %s has stopped.", (cluster,))


@event(logging.CRITICAL)
def orphaned(name: str) -> Message:
    """Log the death of the process that has started the cluster."""
    return Message("%s: the process that started this cluster has died, stopping", (name,))


@event(logging.CRITICAL)
def sentinel_died(cluster: str, how: str) -> Message:
    """Log that a cluster ended without a request to stop."""
    return Message("Q Cluster %s has ended: its sentinel %s.", (cluster, how))


@event(logging.CRITICAL)
def sentinel_stalled(cluster: str, reason: str) -> Message:
    """Log that the outermost process kills the sentinel, and with it the cluster."""
    return Message("Q Cluster %s: its sentinel %s, killed", (cluster, reason))


@event(logging.WARNING)
def statistics_not_published(name: str, error: Exception) -> Message:
    """Log that the statistics could not be published."""
    text = "%s: could not publish the statistics of the cluster, retrying: %s"
    return Message(text, (name, one_line(error)))


@event(logging.WARNING)
def statistics_unreadable(error: Exception) -> Message:
    """Log that the statistics of a cluster are ignored, because they cannot be read."""
    return Message("unreadable statistics ignored: %s", (one_line(error),))
