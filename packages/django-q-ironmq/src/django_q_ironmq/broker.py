"""IronMQ as the broker."""

from __future__ import annotations

import math
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests
from django_q.brokers import counted
from django_q.brokers.base import as_text
from django_q.exceptions import BrokerError, ConfigurationError, mark_sent
from django_q.settings import current_settings

from django_q_ironmq.client import TimelyMQ, client_for
from django_q_ironmq.errors import keeping, reaching, status_of
from django_q_ironmq.reservations import Reservations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django_q.brokers import Delivery

MAX_MESSAGES = 100
"""How many messages one request carries."""

MAX_WAIT_SECONDS = 30
"""Seconds that a long poll lasts at most."""

MAX_LEASE_SECONDS = 86_400
"""Seconds that a reservation lasts at most."""

MAX_DELAY_SECONDS = 604_800
"""Seconds that a message can be hidden at most."""

LOST_LEASE_STATUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
"""What IronMQ answers when the message is gone, or reserved by somebody else."""

NEWEST_ID_TIMEOUT_SECONDS = 1.0
"""Seconds in which a lease that is just being prolonged must have its new reservation id."""

TIDY_INTERVAL_SECONDS = 3600.0
"""Seconds after which forgotten reservations are looked for again."""


class Lease(counted.Lease):
    """The parts of an ack id; the receipt is the reservation id of the delivery."""

    @property
    def key(self) -> tuple[str, str]:
        """What its newest reservation id is kept under."""
        return self.message, self.receipt


class IronMQBroker(counted.CountedBroker):
    """Packages are messages of an IronMQ queue; a lease is their reservation."""

    supports_delay = MAX_DELAY_SECONDS
    blocks = True

    min_lease_seconds: int = 30
    """Seconds that a reservation lasts at least, however short `retry` is."""
    _tidy_at = 0.0
    """When to forget reservations that nobody settled, by the monotonic clock."""

    def connect(self) -> TimelyMQ:
        return client_for(self.settings)

    @staticmethod
    def get_connection(list_key: str | None = None) -> TimelyMQ:
        return client_for(current_settings())

    def disconnect(self) -> None:
        """Close the connections of this thread."""
        self.connection.client.close()

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0) -> str:
        if delay > MAX_DELAY_SECONDS:
            raise BrokerError(f"IronMQ hides a package for {MAX_DELAY_SECONDS} s at most: {delay:g}")
        return self._post([as_text(package)], delay)[0]

    def enqueue_many(self, packages: Sequence[str]) -> list[str]:
        ids: list[str] = []
        for part in hundreds(packages):
            try:
                ids += self._post([as_text(package) for package in part], 0)
            except BrokerError as error:
                mark_sent(error, range(len(ids)))
                raise
        return ids

    def _post(self, bodies: Sequence[str], delay: float) -> list[str]:
        options = {"delay": math.ceil(delay)} if delay > 0 else {}
        with reaching():
            answer = self._queue().post(*({"body": body, **options} for body in bodies))
        return [str(each) for each in answer["ids"]]

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Take up to *limit* and a hundred packages; IronMQ waits whole seconds, what is left is slept."""
        deadline = time.monotonic() + wait
        found = self._reserve(min(self.wanted(limit), MAX_MESSAGES), min(int(wait), MAX_WAIT_SECONDS))
        if not found:
            time.sleep(max(min(deadline - time.monotonic(), self.settings.poll), 0))
        return found

    def _reserve(self, limit: int, wait: int) -> list[Delivery]:
        if limit < 1:
            return []
        with reaching():
            answer = self._made(lambda: self._queue().reserve(max=limit, timeout=self._lease_seconds(), wait=wait))
        return self.hand_out([received(each) for each in answer["messages"]])

    def _lease_seconds(self) -> int:
        return min(max(math.ceil(self.settings.retry), self.min_lease_seconds), MAX_LEASE_SECONDS)

    # -- settling -------------------------------------------------------------------------------------------------

    def acknowledge(self, ack_id: str) -> bool:
        return self._settle(ack_id, lambda lease, newest: self._queue().delete(lease.message, newest))

    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        return [ack_id for part in hundreds(ack_ids) for ack_id in self._delete(part)]

    def _delete(self, ack_ids: Sequence[str]) -> list[str]:
        """Delete in one request; one by one when IronMQ refuses, to learn whose lease was lost."""
        if len(ack_ids) < 2:
            return [ack_id for ack_id in ack_ids if not self.acknowledge(ack_id)]
        kept = self._reservations()
        leases = [Lease.of(ack_id) for ack_id in ack_ids]
        messages = [{"id": lease.message, "reservation_id": kept.newest(*lease.key)} for lease in leases]
        with reaching():
            if done(lambda: self._queue().delete_multiple(messages={"messages": messages})):
                for lease in leases:
                    kept.forget(*lease.key)
                return []
        return [ack_id for ack_id in ack_ids if not self.acknowledge(ack_id)]

    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        """Prolong reservations, one request each.

        Returns:
            The ids whose lease was lost. Where the new ids can never be kept for the other processes, nothing is done.

        Raises:
            BrokerUnavailable: the service cannot be reached, or the disk is full.
        """
        kept = self._reservations()
        with keeping():
            if not kept.usable():
                return []
        if self._tidy_at <= time.monotonic():
            self._tidy_at = time.monotonic() + TIDY_INTERVAL_SECONDS
            kept.tidy()
        return [ack_id for ack_id in ack_ids if not self._touch(kept, Lease.of(ack_id))]

    def _touch(self, kept: Reservations, lease: Lease) -> bool:
        newest = kept.newest(*lease.key)
        with keeping():
            kept.begin(*lease.key)
        with reaching():
            answer = done(lambda: self._queue().touch(lease.message, newest, self._lease_seconds()))
        if answer:
            with keeping():
                kept.keep(*lease.key, answer["reservation_id"])
        else:
            kept.forget(*lease.key)
        return bool(answer)

    def release_messages(self, ack_ids: Sequence[str], delay: float) -> list[str]:
        """Release messages, the last one first: each goes to the front."""
        return [ack_id for ack_id in ack_ids[::-1] if not self._release(ack_id, delay)][::-1]

    def _release(self, ack_id: str, delay: float) -> bool:
        seconds = min(math.ceil(delay), MAX_DELAY_SECONDS)
        return self._settle(ack_id, lambda lease, newest: self._queue().release(lease.message, newest, seconds))

    def _settle(self, ack_id: str, settle: Callable[[Lease, str], Any]) -> bool:
        """Do something to a reserved message; when it is refused, see whether its lease is just being prolonged."""
        lease, kept = Lease.of(ack_id), self._reservations()
        newest, deadline = kept.newest(*lease.key), time.monotonic() + NEWEST_ID_TIMEOUT_SECONDS
        with reaching():
            while not done(partial(settle, lease, newest)):
                refused = newest
                while (newest := kept.newest(*lease.key)) == refused:
                    if not kept.is_changing(*lease.key) or time.monotonic() > deadline:
                        return False
                    time.sleep(0.02)
        kept.forget(*lease.key)
        return True

    def _reservations(self) -> Reservations:
        return Reservations(self.queue_name())

    def queue_name(self) -> str:
        return f"{self.connection.client.base_url} {self.list_key}"

    # -- the queue ------------------------------------------------------------------------------------------------

    def queue_size(self) -> int:
        with reaching():
            info = found(lambda: self._queue().info())
        return int(info["size"]) if info else 0

    def purge_queue(self) -> None:
        with reaching():
            found(lambda: self._queue().clear())

    def delete_queue(self) -> None:
        """Delete the queue and the queue of its dead letters."""
        with reaching():
            for name in (self.list_key, self.dead_key):
                found(self.connection.queue(in_url(name)).delete_queue)

    def ping(self) -> bool:
        try:
            self.queue_size()
        except (BrokerError, ConfigurationError):
            return False
        return True

    def info(self) -> str:
        return "IronMQ"

    def _queue(self) -> Any:
        return self.connection.queue(in_url(self.list_key))

    def _made(self, call: Callable[[], Any]) -> Any:
        """What *call* gives; the queue is made when it is missing."""
        answer = found(call)
        if answer is None:
            self.connection.create_queue(in_url(self.list_key))
            answer = call()
        return answer


def in_url(name: str) -> str:
    """Return the name of a queue as part of a URL; the client puts it there as it is."""
    return quote(name, safe="")


def received(message: dict[str, Any]) -> counted.Received:
    """Read a message as IronMQ delivers it."""
    lease = Lease(message["id"], message["reservation_id"])
    return counted.Received(lease, message["body"], message.get("reserved_count", 1))


def found(call: Callable[[], Any]) -> Any:
    """What *call* gives; None when there is no such queue."""
    return answer_unless((HTTPStatus.NOT_FOUND,), call)


def done(call: Callable[[], Any]) -> Any:
    """What *call* gives; None when the message is not ours any more."""
    return answer_unless(LOST_LEASE_STATUSES, call)


def answer_unless(statuses: Sequence[int], call: Callable[[], Any]) -> Any:
    """What *call* gives; None when it is answered with one of *statuses*."""
    try:
        return call()
    except requests.HTTPError as error:
        if status_of(error) in statuses:
            return None
        raise


def hundreds(items: Sequence[str]) -> Iterator[Sequence[str]]:
    """The items, as many at a time as one request carries."""
    for start in range(0, len(items), MAX_MESSAGES):
        yield items[start : start + MAX_MESSAGES]
