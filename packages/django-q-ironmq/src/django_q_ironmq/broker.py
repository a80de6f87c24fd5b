"""Broker that keeps packages in IronMQ."""

from __future__ import annotations

import math
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests
from django_q.brokers import counted
from django_q.brokers.banded import BandedBroker
from django_q.brokers.bands import Band, band_name_problem, bands_of
from django_q.brokers.base import as_text
from django_q.exceptions import BrokerError, ConfigurationError, mark_sent
from django_q.settings import current_settings

from django_q_ironmq.client import TimelyMQ, client_for
from django_q_ironmq.errors import converting_errors, keeping, status_of
from django_q_ironmq.reservations import Reservations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from django_q.brokers import Delivery

MAX_MESSAGES = 100
"""Maximum number of messages of one request."""

MAX_WAIT_SECONDS = 30
"""Maximum duration of a long poll."""

MAX_LEASE_SECONDS = 86_400
"""Maximum duration of a reservation."""

MAX_DELAY_SECONDS = 604_800
"""Maximum delay of a message."""

LOST_LEASE_STATUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
"""Statuses of IronMQ's responses if the message was deleted, or is reserved by another consumer."""

NEWEST_ID_TIMEOUT_SECONDS = 1.0
"""Time limit for the new reservation id of a lease that another process is renewing."""

TIDY_INTERVAL_SECONDS = 3600.0
"""Interval at which files of old reservations are deleted."""


class Lease(counted.Lease):
    """Parts of an ack id. The receipt is the reservation id of the delivery."""

    @property
    def key(self) -> tuple[str, str]:
        """Key of its newest reservation id."""
        return self.message, self.receipt


class IronMQBroker(BandedBroker):
    """Broker for IronMQ. A package is a message, and its lease is the reservation."""

    supports_delay = MAX_DELAY_SECONDS
    blocks = True

    min_lease_seconds: int = 30
    """Minimum duration of a reservation, even if `retry` is shorter."""
    _tidy_at = 0.0
    """Time of the next deletion of old reservations (`time.monotonic`, seconds)."""

    @classmethod
    def name_problem(cls, name: str) -> str | None:
        """Return why no cluster can have this name: its queue may be the band of another cluster. None if it can."""
        return band_name_problem(name)

    def connect(self) -> TimelyMQ:
        return client_for(self.settings)

    @staticmethod
    def get_connection(list_key: str | None = None) -> TimelyMQ:
        return client_for(current_settings())

    def disconnect(self) -> None:
        """Close the connections of this thread."""
        self.connection.client.close()

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> str:
        """Send a package to the queue of its band."""
        if delay > MAX_DELAY_SECONDS:
            raise BrokerError(
                f"IronMQ delays a package by at most {MAX_DELAY_SECONDS} s, not {delay:g} s: use a schedule."
            )
        return self._post(Band.of(priority), [as_text(package)], delay)[0]

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[str]:
        """Send packages to the queue of their band, 100 in a request."""
        ids: list[str] = []
        for part in message_batches(packages):
            try:
                ids += self._post(Band.of(priority), [as_text(package) for package in part], 0)
            except BrokerError as error:
                mark_sent(error, range(len(ids)))
                raise
        return ids

    def _post(self, band: Band, bodies: Sequence[str], delay: float) -> list[str]:
        options = {"delay": math.ceil(delay)} if delay > 0 else {}
        with converting_errors():
            answer = self._queue(band).post(*({"body": body, **options} for body in bodies))
        self.note_present(band)
        return [str(each) for each in answer["ids"]]

    # -- fetching -------------------------------------------------------------------------------------------------

    def receive(self, band: Band, limit: int, wait: int) -> list[Delivery] | None:
        """Fetch up to *limit*, at most 100 packages of a band."""
        limit = min(self.wanted(limit), MAX_MESSAGES)
        if limit < 1:
            return []
        reserve = partial(self._queue(band).reserve, max=limit, timeout=self._lease_seconds(), wait=wait)
        with converting_errors():
            answer = self._created(reserve) if band is Band.NORMAL else found(reserve)
        return None if answer is None else self.deliveries_of([received(each, band) for each in answer["messages"]])

    def longest_wait(self) -> float:
        """Return the maximum wait of a fetch in seconds."""
        return MAX_WAIT_SECONDS

    def _lease_seconds(self) -> int:
        return min(max(math.ceil(self.settings.retry), self.min_lease_seconds), MAX_LEASE_SECONDS)

    # -- settling -------------------------------------------------------------------------------------------------

    def acknowledge(self, ack_id: str) -> bool:
        return self._settle(ack_id, lambda lease, newest: self._queue(lease.band).delete(lease.message, newest))

    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        parts = [(band, part) for band, ids in counted.by_band(ack_ids).items() for part in message_batches(ids)]
        lost = {ack_id for band, part in parts for ack_id in self._delete(band, part)}
        return [ack_id for ack_id in ack_ids if ack_id in lost]

    def _delete(self, band: Band, ack_ids: Sequence[str]) -> list[str]:
        """Delete messages in one request. If IronMQ rejects it, delete one by one, to find the lost leases."""
        if len(ack_ids) < 2:
            return [ack_id for ack_id in ack_ids if not self.acknowledge(ack_id)]
        kept = self._reservations()
        leases = [Lease.of(ack_id) for ack_id in ack_ids]
        messages = [{"id": lease.message, "reservation_id": kept.newest(*lease.key)} for lease in leases]
        with converting_errors():
            if done(lambda: self._queue(band).delete_multiple(messages={"messages": messages})):
                for lease in leases:
                    kept.forget(*lease.key)
                return []
        return [ack_id for ack_id in ack_ids if not self.acknowledge(ack_id)]

    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        """Renew reservations, one request each. If the new ids can never be stored for other processes, do nothing.

        Returns:
            The ack ids of lost leases.

        Raises:
            BrokerUnavailable: the service cannot be reached, or the disk is full.
        """
        kept = self._reservations()
        with keeping():
            if not kept.usable():
                return []
        if self._tidy_at <= time.monotonic():
            self._tidy_at = time.monotonic() + TIDY_INTERVAL_SECONDS
            kept.delete_old()
        return [ack_id for ack_id in ack_ids if not self._touch(kept, Lease.of(ack_id))]

    def _touch(self, kept: Reservations, lease: Lease) -> bool:
        newest = kept.newest(*lease.key)
        with keeping():
            kept.begin(*lease.key)
        with converting_errors():
            answer = done(lambda: self._queue(lease.band).touch(lease.message, newest, self._lease_seconds()))
        if answer:
            with keeping():
                kept.keep(*lease.key, answer["reservation_id"])
        else:
            kept.forget(*lease.key)
        return bool(answer)

    def release_messages(self, ack_ids: Sequence[str], delay: float) -> list[str]:
        """Release messages, the last one first, because each one becomes the first of the queue."""
        return [ack_id for ack_id in ack_ids[::-1] if not self._release(ack_id, delay)][::-1]

    def _release(self, ack_id: str, delay: float) -> bool:
        seconds = min(math.ceil(delay), MAX_DELAY_SECONDS)
        return self._settle(
            ack_id, lambda lease, newest: self._queue(lease.band).release(lease.message, newest, seconds)
        )

    def _settle(self, ack_id: str, settle: Callable[[Lease, str], Any]) -> bool:
        """Apply an operation to a reserved message.

        If IronMQ rejects it while another process renews the lease, it is repeated with the new reservation id.

        Args:
            ack_id: ack id of the message.
            settle: function that gets the lease and its newest reservation id.

        Returns:
            False if the lease was lost.
        """
        lease, kept = Lease.of(ack_id), self._reservations()
        newest, deadline = kept.newest(*lease.key), time.monotonic() + NEWEST_ID_TIMEOUT_SECONDS
        with converting_errors():
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
        """Return the number of waiting messages of all bands."""
        return sum(map(self._size, self.present_bands()))

    def _size(self, band: Band) -> int:
        with converting_errors():
            info = found(lambda: self._queue(band).info())
        if info is None:
            self.note_missing(band)
        return int(info["size"]) if info else 0

    def purge_queue(self) -> None:
        """Delete the messages of all bands, reserved ones too."""
        with converting_errors():
            for band in bands_of(self.list_key):
                found(self._queue(band).clear)

    def delete_queue(self) -> None:
        """Delete the queues of all bands, and the dead-letter queue."""
        with converting_errors():
            for name in (*map(self.band_queue, bands_of(self.list_key)), self.dead_key):
                found(self.connection.queue(in_url(name)).delete_queue)

    def ping(self) -> bool:
        try:
            self._size(Band.NORMAL)
        except (BrokerError, ConfigurationError):
            return False
        return True

    def info(self) -> str:
        return "IronMQ"

    def _queue(self, band: Band) -> Any:
        return self.connection.queue(in_url(self.band_queue(band)))

    def _created(self, call: Callable[[], Any]) -> Any:
        """Return the result of a call, before which a missing queue is created."""
        answer = found(call)
        if answer is None:
            self.connection.create_queue(in_url(self.list_key))
            answer = call()
        return answer


def in_url(name: str) -> str:
    """Return the name of a queue as part of a URL, because the client does not quote it."""
    return quote(name, safe="")


def received(message: dict[str, Any], band: Band) -> counted.Received:
    """Convert a message of IronMQ."""
    lease = Lease(message["id"], message["reservation_id"], band)
    return counted.Received(lease, message["body"], message.get("reserved_count", 1))


def found(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or None if the queue does not exist."""
    return answer_unless((HTTPStatus.NOT_FOUND,), call)


def done(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or None if the lease of its message was lost."""
    return answer_unless(LOST_LEASE_STATUSES, call)


def answer_unless(statuses: Sequence[int], call: Callable[[], Any]) -> Any:
    """Return the result of a call, or None if the status of the response is one of *statuses*."""
    try:
        return call()
    except requests.HTTPError as error:
        if status_of(error) in statuses:
            return None
        raise


def message_batches(items: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield batches of at most `MAX_MESSAGES` items."""
    for start in range(0, len(items), MAX_MESSAGES):
        yield items[start : start + MAX_MESSAGES]
