"""Base class for brokers with batch operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.brokers.base import Broker

if TYPE_CHECKING:
    from django_q.brokers.base import AckId


class BulkBroker(Broker):
    """A broker that leases and settles packages in batches. Methods for one package use a batch of one.

    A subclass implements `enqueue`, `dequeue_many`, `acknowledge_many`, `renew`, `release_many` and `expire`, and its
    deliveries have attempt numbers. It may override any other method.
    """

    supports_receipts = True
    supports_bulk = True
    supports_renewal = True

    def dequeue(self) -> list[tuple[AckId | None, str | bytes]] | None:
        """Lease up to `bulk` packages and return (ack id, package) of each; wait about one second for the first."""
        return [found[:2] for found in self.dequeue_many(self.settings.bulk, 1.0)] or None

    def wanted(self, limit: int) -> int:
        """Return the maximum size of a fetch: *limit*, or `bulk` if that is set and less."""
        return min(limit, self.settings.bulk) if "bulk" in self.settings.explicit else limit

    def acknowledge(self, ack_id: Any) -> bool:
        """Delete one package. Return False if its lease was lost."""
        return not self.acknowledge_many([ack_id])

    def release(self, ack_id: Any, delay: float = 0) -> bool:
        """Release one package for *delay* seconds. Return False if its lease was lost."""
        return not self.release_many([ack_id], delay)

    def delete(self, ack_id: Any) -> bool:
        """Delete one package. Return False if its lease was lost."""
        return self.acknowledge(ack_id)
