"""What brokers have in common whose products count deliveries, and do not say how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from django_q.brokers.base import Delivery
from django_q.brokers.bulk import BulkBroker
from django_q.brokers.given_back import GivenBack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers.base import AckId


class Lease(NamedTuple):
    """What a delivery is acknowledged with: a message, and the receipt it came with."""

    deliveries: int
    """How often the message was delivered, but for the times it was given back."""
    message: str
    """Its id, the same each time, without a colon."""
    receipt: str
    """What the product wants to hear, another one each time."""

    @classmethod
    def of(cls, ack_id: str) -> Self:
        """Read it back."""
        deliveries, message, receipt = ack_id.split(":", 2)
        return cls(int(deliveries), message, receipt)

    @property
    def ack_id(self) -> str:
        """As it is handed out."""
        return f"{self.deliveries}:{self.message}:{self.receipt}"


class CountedBroker(BulkBroker):
    """A broker whose product says how often it delivered a message, those times included that it was given back.

    The cache remembers which were. Yours has `offer_again` instead of `release_many`, gives what it fetched to
    `hand_out`, and reads ack ids by `Lease.of`.
    """

    def offer_again(self, ack_ids: Sequence[str], delay: float) -> list[str]:
        """Have the product offer messages again after *delay* seconds and give the ids whose lease was lost."""
        raise NotImplementedError

    def queue_name(self) -> str:
        """What tells the queue from all others that share the cache."""
        return self.list_key

    def hand_out(self, received: Sequence[tuple[Lease, str]]) -> list[Delivery]:
        """Make deliveries of messages and their leases, which say here how often the product delivered each."""
        counts = self._given_back().deliveries({lease.message: lease.deliveries for lease, _package in received})
        return [
            Delivery(lease._replace(deliveries=counts[lease.message]).ack_id, package) for lease, package in received
        ]

    def deliveries(self, ack_id: AckId) -> int:
        """Read the lease."""
        return Lease.of(str(ack_id)).deliveries

    def release_many(self, ack_ids: Sequence[str], delay: float = 0) -> list[str]:
        """Offer several packages again; remember those that are given back at once."""
        lost = self.offer_again(ack_ids, delay)
        if delay <= 0:
            self._given_back().remember([Lease.of(ack_id).message for ack_id in ack_ids if ack_id not in lost])
        return lost

    def lapse(self, ack_id: str) -> bool:
        """Offer a package again at once, as one that was delivered."""
        return not self.offer_again([ack_id], 0)

    def _given_back(self) -> GivenBack:
        return GivenBack(self.cache, self.queue_name())
