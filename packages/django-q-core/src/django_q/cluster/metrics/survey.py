"""Reads the sizes of a cluster's queues for its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django_q.brokers import get_broker
from django_q.brokers.registry import OWN_QUEUE
from django_q.records.waiting import oldest_wait

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings


class QueueSizes(NamedTuple):
    """Numbers of packages of one queue."""

    waiting: int
    in_flight: int
    dead: int


def queues_of(settings: ClusterSettings) -> list[str]:
    """Return the names of the queues that a cluster consumes."""
    names = [settings.list_key if name == OWN_QUEUE else name for name in settings.queues] or [settings.list_key]
    return list(dict.fromkeys(names))


def queue_sizes(settings: ClusterSettings) -> dict[str, QueueSizes]:
    """Return the sizes of the queues of a cluster, by name.

    Raises:
        BrokerUnavailable: the broker cannot answer now.
    """
    found = {}
    for name in queues_of(settings):
        broker = get_broker(name, settings=settings)
        try:
            found[name] = QueueSizes(broker.queue_size(), broker.lock_size() or 0, broker.dead_size() or 0)
        finally:
            broker.disconnect()
    return found


def oldest_waits(settings: ClusterSettings) -> dict[str, float]:
    """Return the seconds for which the oldest tracked task of each queue has waited, by its name."""
    return {name: oldest_wait([name]) for name in queues_of(settings)}
