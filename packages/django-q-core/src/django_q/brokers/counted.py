"""Base class for brokers whose receive count includes released deliveries (SQS, IronMQ, Disque)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from django_q.brokers.bands import Band
from django_q.brokers.base import Delivery
from django_q.brokers.bulk import BulkBroker
from django_q.brokers.cache_counts import CacheCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_q.settings import ClusterSettings


class Lease(NamedTuple):
    """The parts of an ack id: a message, and the receipt of one delivery."""

    message: str
    """Id of the message, the same for each delivery, without a colon and a slash."""
    receipt: str
    """Receipt by which the product settles the delivery; each delivery has another one."""
    band: Band = Band.NORMAL
    """Band of priorities whose queue has the message."""

    @classmethod
    def of(cls, ack_id: str) -> Self:
        """Return the lease of an ack id."""
        place, receipt = ack_id.split(":", 1)
        band, _, message = place.rpartition("/")
        return cls(message, receipt, Band(band) if band else Band.NORMAL)

    @property
    def ack_id(self) -> str:
        """The lease as an ack id, which names the band unless it is the normal one."""
        band = "" if self.band is Band.NORMAL else f"{self.band}/"
        return f"{band}{self.message}:{self.receipt}"


class Received(NamedTuple):
    """A message as the product delivered it."""

    lease: Lease
    package: str
    count: int
    """Number of deliveries of this message, this one included."""


def by_band(ack_ids: Iterable[str]) -> dict[Band, list[str]]:
    """Return ack ids by the bands whose queues have their messages."""
    found: dict[Band, list[str]] = {}
    for ack_id in ack_ids:
        found.setdefault(Lease.of(ack_id).band, []).append(ack_id)
    return found


class CountedBroker(BulkBroker):
    """A broker whose product counts the deliveries of a message, including those that were released unstarted.

    The Django cache counts these releases. The attempt number is the product's count without them. A release that is
    missing from the cache counts as an attempt. A subclass implements `release_messages` instead of `release_many`,
    passes received messages to `deliveries_of`, and reads ack ids with `Lease.of`.
    """

    def _begin(self, settings: ClusterSettings | None) -> None:
        super()._begin(settings)
        self._releases = CacheCounts(lambda: self.cache, self.queue_name, "releases")

    def release_messages(self, ack_ids: Sequence[str], delay: float) -> list[str]:
        """Make the product deliver messages again after *delay* seconds; return the ids whose lease was lost."""
        raise NotImplementedError

    def queue_name(self) -> str:
        """Return a name of the queue that is unique in the cache."""
        return self.list_key

    def deliveries_of(self, received: Sequence[Received]) -> list[Delivery]:
        """Return deliveries with attempt numbers. Only messages that were received before are read in the cache."""
        released = self._releases.read([each.lease.message for each in received if each.count > 1])
        return [
            Delivery(each.lease.ack_id, each.package, max(each.count - released.get(each.lease.message, 0), 1))
            for each in received
        ]

    def release_many(self, ack_ids: Sequence[str], delay: float = 0) -> list[str]:
        """Release several packages for *delay* seconds; count those whose tasks did not start."""
        lost = self.release_messages(ack_ids, delay)
        if delay <= 0:
            self._releases.add([Lease.of(ack_id).message for ack_id in ack_ids if ack_id not in lost])
        return lost

    def expire(self, ack_id: Any) -> bool:
        """Expire a lease now. The delivery counts as an attempt."""
        return not self.release_messages([ack_id], 0)
