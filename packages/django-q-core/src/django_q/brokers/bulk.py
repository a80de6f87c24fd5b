"""What brokers have in common that do things to several packages at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.brokers.base import Broker

if TYPE_CHECKING:
    from django_q.brokers.base import AckId


class BulkBroker(Broker):
    """A broker that leases and settles several packages at once: one package is a bulk of one.

    A subclass has `enqueue`, `dequeue_many`, `acknowledge_many`, `renew`, `release_many` and `expire`, and its
    deliveries have attempt numbers. It may override any other method.
    """

    supports_receipts = True
    supports_bulk = True
    supports_renewal = True

    def dequeue(self) -> list[tuple[AckId | None, str | bytes]] | None:
        """Lease up to `bulk` packages and return their ack ids and packages; wait about a second for the first."""
        return [found[:2] for found in self.dequeue_many(self.settings.bulk, 1.0)] or None

    def wanted(self, limit: int) -> int:
        """How many packages a fetch takes: up to `bulk`, when that was given, of the *limit* there is room for."""
        return min(limit, self.settings.bulk) if "bulk" in self.settings.explicit else limit

    def acknowledge(self, ack_id: Any) -> bool:
        """Forget one package; False when its lease was lost."""
        return not self.acknowledge_many([ack_id])

    def release(self, ack_id: Any, delay: float = 0) -> bool:
        """Give one package back; False when its lease was lost."""
        return not self.release_many([ack_id], delay)

    def delete(self, ack_id: Any) -> bool:
        """Forget one package; False when its lease was lost."""
        return self.acknowledge(ack_id)
