"""Reads the sizes of a cluster's queues for its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django_q.brokers import get_broker
from django_q.brokers.registry import consumed_queues
from django_q.brokers.waiting import next_wait
from django_q.records.waiting import oldest_wait

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings


class QueueSizes(NamedTuple):
    """Numbers of packages of one queue."""

    waiting: int
    in_flight: int
    dead: int
    wait: float | None = None
    """Seconds for which the oldest of the next packages has waited; None if the broker cannot list packages."""


def queue_sizes(settings: ClusterSettings) -> dict[str, QueueSizes]:
    """Return the sizes of the queues of a cluster, by name.

    Raises:
        BrokerUnavailable: the broker cannot answer now.
    """
    found = {}
    for name in consumed_queues(settings):
        broker = get_broker(name, settings=settings)
        try:
            sizes = broker.queue_size(), broker.lock_size() or 0, broker.dead_size() or 0
            found[name] = QueueSizes(*sizes, next_wait(broker))
        finally:
            broker.disconnect()
    return found


def oldest_waits(settings: ClusterSettings) -> dict[str, float]:
    """Return the seconds for which the oldest tracked task of each queue has waited, by its name."""
    return {name: oldest_wait([name]) for name in consumed_queues(settings)}
