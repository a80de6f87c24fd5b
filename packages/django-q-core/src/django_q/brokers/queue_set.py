"""Broker of several queues, for a cluster that consumes them together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django_q.brokers.base import Broker, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.settings import ClusterSettings

SLICE_SECONDS: Final = 0.25
"""Time for which a fetch waits at one empty queue before it checks the next one."""

CAPABILITIES: Final = (
    "acknowledges_failures",
    "alias",
    "blocks",
    "keeps_statistics",
    "leases_vary",
    "precision",
    "priorities",
    "supports_bulk",
    "supports_dead_letters",
    "supports_delay",
    "supports_lock_size",
    "supports_prefetch",
    "supports_receipts",
    "supports_renewal",
)
"""Attributes that all queues of a product have in common."""


class QueueLease(NamedTuple):
    """Receipt of a delivery from one of several queues."""

    queue: int
    """Position of the queue."""
    ack_id: Any
    """Receipt of its broker."""


class QueueSet(Broker):
    """Broker of several queues of one product.

    Each fetch begins with another queue, so that none waits without end. Packages are sent to the first queue; links of
    chains follow their predecessors, see `broker_of_delivery`.

    Args:
        brokers: broker of each queue; the first is that of the cluster itself.
    """

    def __init__(self, brokers: Sequence[Broker]) -> None:
        self.brokers = list(brokers)
        self._use_first()

    def _use_first(self) -> None:
        self._begin(self.brokers[0]._settings)
        self.list_key = self.brokers[0].list_key
        self._turn = 0
        for name in CAPABILITIES:
            setattr(self, name, getattr(self.brokers[0], name))

    def __getstate__(self) -> Any:
        return self.brokers

    def __setstate__(self, state: Any) -> None:
        self.brokers = state
        self._use_first()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(broker.list_key for broker in self.brokers)}>"

    @property
    def settings(self) -> ClusterSettings:
        """The settings of the cluster."""
        return self.brokers[0].settings

    @settings.setter
    def settings(self, settings: ClusterSettings | None) -> None:
        for broker in self.brokers:
            broker.settings = settings

    @property
    def list_keys(self) -> list[str]:
        """Keys of all queues."""
        return [broker.list_key for broker in self.brokers]

    def broker_of_delivery(self, ack_id: Any) -> Broker:
        """Return the broker of the queue that delivered a package."""
        return self.brokers[ack_id.queue] if isinstance(ack_id, QueueLease) else self.brokers[0]

    # sending

    def enqueue(self, package: str, **options: Any) -> Any:
        """Queue a package in the first queue."""
        return self.brokers[0].enqueue(package, **options)

    def enqueue_many(self, packages: Sequence[str], **options: Any) -> list[Any]:
        """Queue packages in the first queue."""
        return self.brokers[0].enqueue_many(packages, **options)

    def enqueue_links(self, packages: Sequence[str], **options: Any) -> Any:
        """Queue links in the first queue."""
        return self.brokers[0].enqueue_links(packages, **options)

    # fetching

    def dequeue(self) -> list[tuple[Any, ...]] | None:
        """Lease up to `bulk` packages; wait about one second for the first."""
        return [tuple(found) for found in self.dequeue_many(self.settings.bulk, 1.0)] or None

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Lease up to *limit* packages; wait up to *wait* seconds for the first."""
        deadline = time.monotonic() + wait
        found: list[Delivery] = []
        self._turn += 1
        order = [(self._turn + step) % len(self.brokers) for step in range(len(self.brokers))]
        for queue in order:
            if len(found) < limit:
                found += self._fetch(queue, limit - len(found), 0)
        while not found and (left := deadline - time.monotonic()) > 0:
            self._turn += 1
            found = self._fetch(self._turn % len(self.brokers), limit, min(left, SLICE_SECONDS))
        return found

    def _fetch(self, queue: int, limit: int, wait: float) -> list[Delivery]:
        return [
            found if found.ack_id is None else found._replace(ack_id=QueueLease(queue, found.ack_id))
            for found in self.brokers[queue].dequeue_many(limit, wait)
        ]

    # settling a delivery

    def _each(self, ack_ids: Sequence[Any], settle: Callable[[Broker, list[Any]], list[Any]]) -> list[Any]:
        """Settle the deliveries of each queue, and return the ids whose lease was lost."""
        lost: list[Any] = []
        for queue, broker in enumerate(self.brokers):
            ours = [ack_id.ack_id for ack_id in ack_ids if ack_id.queue == queue]
            if ours:
                lost += [QueueLease(queue, ack_id) for ack_id in settle(broker, ours)]
        return lost

    def acknowledge(self, ack_id: Any) -> bool | None:
        """Delete a package whose outcome is saved. Return False if the lease was lost."""
        return None if ack_id is None else self.broker_of_delivery(ack_id).acknowledge(ack_id.ack_id)

    def acknowledge_many(self, ack_ids: Sequence[Any]) -> list[Any]:
        """Delete several packages and return the ids whose lease was lost."""
        return self._each(ack_ids, lambda broker, ours: broker.acknowledge_many(ours))

    def renew(self, ack_ids: Sequence[Any]) -> list[Any]:
        """Extend leases to `retry` seconds from now and return the ids whose lease was lost."""
        return self._each(ack_ids, lambda broker, ours: broker.renew(ours))

    def lease_seconds(self, ack_id: Any) -> float:
        """Return the duration of a lease in seconds."""
        return self.broker_of_delivery(ack_id).lease_seconds(ack_id.ack_id)

    def release(self, ack_id: Any, delay: float = 0) -> bool | None:
        """Release a package for *delay* seconds. Return False if the lease was lost."""
        return self.broker_of_delivery(ack_id).release(ack_id.ack_id, delay)

    def release_many(self, ack_ids: Sequence[Any], delay: float = 0) -> list[Any]:
        """Release several packages for *delay* seconds and return the ids whose lease was lost."""
        return self._each(ack_ids, lambda broker, ours: broker.release_many(ours, delay))

    def expire(self, ack_id: Any) -> bool | None:
        """Expire a lease now. Return False if the lease was lost."""
        return self.broker_of_delivery(ack_id).expire(ack_id.ack_id)

    def fail(self, ack_id: Any) -> bool | None:
        """Move a package to the dead letters of its queue. Return False if the lease was lost."""
        return self.broker_of_delivery(ack_id).fail(ack_id.ack_id)

    def delete(self, ack_id: Any) -> bool | None:
        """Delete a package. Return False if the lease was lost."""
        return self.broker_of_delivery(ack_id).delete(ack_id.ack_id)

    def is_lost(self, delivery: Delivery) -> bool:
        """Return True if the lease of a delivery was lost; renew it otherwise."""
        broker = self.broker_of_delivery(delivery.ack_id)
        return broker.is_lost(_unwrapped(delivery))

    def move_to_dead_letters(self, delivery: Delivery) -> None:
        """Move an unreadable package to the dead letters of its queue."""
        self.broker_of_delivery(delivery.ack_id).move_to_dead_letters(_unwrapped(delivery))

    # dead letters, and the queues as a whole

    def dead_size(self) -> int:
        """Return the number of dead letters of all queues."""
        return sum(broker.dead_size() for broker in self.brokers)

    def requeue_dead(self, limit: int | None = None) -> int:
        """Requeue dead letters, each in its queue, and return their number."""
        moved = 0
        for broker in self.brokers:
            moved += broker.requeue_dead(None if limit is None else limit - moved)
        return moved

    def list_dead(self, limit: int) -> list[str]:
        """Return the packages of dead letters of all queues."""
        found: list[str] = []
        for broker in self.brokers:
            found += broker.list_dead(limit - len(found))
        return found

    def delete_dead(self, package: str) -> bool:
        """Delete a dead letter of one of the queues. Return False if there is none."""
        return any(broker.delete_dead(package) for broker in self.brokers)

    def queue_size(self) -> int:
        """Return the number of waiting packages in all queues."""
        return sum(broker.queue_size() for broker in self.brokers)

    def lock_size(self) -> int | None:
        """Return the number of packages under a lease; None if the product cannot count them."""
        sizes = [broker.lock_size() for broker in self.brokers]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def purge_queue(self) -> None:
        """Purge all queues."""
        for broker in self.brokers:
            broker.purge_queue()

    def delete_queue(self) -> None:
        """Delete all queues."""
        for broker in self.brokers:
            broker.delete_queue()

    def disconnect(self) -> None:
        """Close the connections of this process."""
        for broker in self.brokers:
            broker.disconnect()

    def ping(self) -> bool:
        """Return True if all queues are available."""
        return all(broker.ping() for broker in self.brokers)

    def info(self) -> str:
        """Return the name and version of the product."""
        return self.brokers[0].info()

    def server_warnings(self) -> list[str]:
        """Return one sentence for each setting of the servers that may lose packages."""
        return list(dict.fromkeys(warning for broker in self.brokers for warning in broker.server_warnings()))

    def set_stat(self, key: str, value: str, timeout: float) -> None:
        """Store the statistics of a cluster, beside the first queue."""
        self.brokers[0].set_stat(key, value, timeout)

    def get_stat(self, key: str) -> str | bytes | None:
        """Return the statistics under *key*; None if there are none."""
        return self.brokers[0].get_stat(key)

    def get_stats(self, pattern: str) -> list[str | bytes]:
        """Return the statistics under all keys that match *pattern*."""
        return self.brokers[0].get_stats(pattern)


def _unwrapped(delivery: Delivery) -> Delivery:
    """Return a delivery with the receipt of its own broker."""
    ack_id = delivery.ack_id
    return delivery._replace(ack_id=ack_id.ack_id) if isinstance(ack_id, QueueLease) else delivery
