"""Broker that keeps packages in Amazon SQS."""

from __future__ import annotations

import math
import re
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from botocore.exceptions import ClientError
from django_q.brokers.banded import BandedBroker
from django_q.brokers.bands import DEAD_SUFFIX, FIFO_SUFFIX, Band, band_name_problem, bands_of, with_suffix
from django_q.brokers.base import as_text
from django_q.brokers.counted import Lease, Received, by_band
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError, PackageTooLarge, mark_sent
from django_q.settings import current_settings

from django_q_sqs.batches import MAX_BATCH_ENTRIES, body_batches, entry_batches, size_of
from django_q_sqs.client import WAIT_KEY, client_for
from django_q_sqs.errors import (
    converting_errors,
    has_temporary_fault,
    is_denied,
    is_no_answer,
    is_too_long,
    server_time,
    value_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import AckId, Delivery

MAX_WAIT_SECONDS = 20
"""Maximum duration of a long poll."""

MAX_LEASE_SECONDS = 43_200
"""Maximum visibility timeout of a message: twelve hours after it was received."""

MAX_DELAY_SECONDS = 900
"""Maximum delay of a new message."""

RETENTION_SECONDS = 1_209_600
"""Time for which a queue of this broker keeps a message: 14 days, the maximum. The default of SQS is 4 days."""

MAX_NAME_CHARACTERS = 80
"""Maximum length of a queue's name."""

DEFAULT_MAX_BYTES = 1_048_576
"""Maximum size of a message, if the queue does not report its own."""

MAX_TRIES = 3
"""Maximum number of requests for an entry of a batch that fails because of a fault of SQS."""

RECEIVE_COUNT_ATTRIBUTE = "ApproximateReceiveCount"
"""Attribute with the receive count of a message, including the current delivery."""

SENT_AT = "SentTimestamp"
"""Attribute with the time at which a message was sent, in milliseconds since 1970."""


class Sqs(BandedBroker):
    """Broker for Amazon SQS. A package is a message, and its lease is the visibility timeout."""

    supports_delay: float = MAX_DELAY_SECONDS
    supports_lock_size = True
    blocks = True

    _urls: dict[Band, str]
    """URLs of the queues that this process knows."""
    _limits: dict[Band, int]
    """Maximum sizes of a message, in bytes, of the queues that this process knows."""

    @property
    def list_key(self) -> str:  # pyrefly: ignore[bad-override]
        """Name of the queue."""
        return self._list_key

    @list_key.setter
    def list_key(self, name: str) -> None:
        self._list_key, self._urls, self._limits = name, {}, {}
        # A FIFO queue has one delay for all messages.
        self.supports_delay = 0 if self.is_fifo else MAX_DELAY_SECONDS

    @classmethod
    def name_problem(cls, name: str) -> str | None:
        """Return why SQS cannot have the queue; None if it can.

        The queues of its dead letters and of its bands need up to 5 more characters.
        """
        if re.fullmatch(r"[A-Za-z0-9_-]+(\.fifo)?", name) and len(name) <= MAX_NAME_CHARACTERS - len(DEAD_SUFFIX):
            return band_name_problem(name)
        return "SQS allows at most 75 ASCII letters, digits, hyphens and underscores, and '.fifo' at the end"

    @property
    def is_fifo(self) -> bool:
        """True if the name is that of a FIFO queue."""
        return self.list_key.endswith(FIFO_SUFFIX)

    @property
    def dead_key(self) -> str:
        return with_suffix(self.list_key, DEAD_SUFFIX)

    def connect(self) -> Any:
        return client_for(self.settings)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        return client_for(current_settings())

    def disconnect(self) -> None:
        """Close the connections of this process."""
        self.connection.close()

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> str:
        """Send a package to the queue of its band."""
        if delay > self.supports_delay:
            raise BrokerError(
                f"SQS delays packages of {self.list_key} by at most {self.supports_delay:g} s, not {delay:g} s: "
                "use a schedule."
            )
        band = Band.of(priority)
        body = self._checked(package, band)
        options = {"DelaySeconds": math.ceil(delay)} if delay > 0 else {}
        answer = self._call("send_message", band=band, MessageBody=body, **options, **self._fifo_options())
        return value_of(answer, "MessageId")

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[str]:
        """Send packages, at most ten in a request. If SQS rejects some of them, the others are sent."""
        band = Band.of(priority)
        bodies = [self._checked(package, band) for package in packages]
        ids: dict[int, str] = {}
        refused: BrokerError | None = None
        start = 0
        for part in body_batches(bodies, self._limit(band) if bodies else 0):
            positions = range(start, start := start + len(part))
            try:
                self._send(band, dict(zip(positions, part, strict=True)), ids)
            except BrokerError as error:
                refused = error
                if isinstance(error, BrokerUnavailable):
                    break
        if refused is not None:
            mark_sent(refused, ids)
            raise refused
        return [ids[position] for position in range(len(bodies))]

    def _send(self, band: Band, bodies: dict[int, str], ids: dict[int, str]) -> None:
        """Send one batch, and repeat entries that failed because of a fault of SQS.

        Args:
            band: band whose queue gets the packages.
            bodies: message bodies by position.
            ids: message ids by position, to which those of the sent messages are added.
        """
        entries = {n: {"Id": str(n), "MessageBody": body, **self._fifo_options()} for n, body in bodies.items()}
        refused: dict[int, Any] = {}
        for _attempt in range(MAX_TRIES):
            left = [entry for n, entry in entries.items() if n not in ids and n not in refused]
            answer = self._call("send_message_batch", band=band, Entries=left) if left else {}
            ids.update((int(sent["Id"]), sent["MessageId"]) for sent in answer.get("Successful", ()))
            failed = answer.get("Failed", ())
            refused |= {int(each["Id"]): each for each in failed if not has_temporary_fault(each)}
            if all(not has_temporary_fault(each) for each in failed):
                break
        else:
            raise BrokerUnavailable(f"SQS could not accept {len(bodies) - len(ids)} of {len(bodies)} packages.")
        if refused:
            reason = next(iter(refused.values()))
            raise BrokerError(f"SQS rejects {len(refused)} of {len(bodies)} packages: {reason}")

    def _fifo_options(self) -> dict[str, str]:
        """Return a group, which keeps the order, and an id, with which a repeated request has no effect."""
        if not self.is_fifo:
            return {}
        return {"MessageGroupId": "django-q", "MessageDeduplicationId": uuid.uuid4().hex}

    def _checked(self, package: str, band: Band) -> str:
        body = as_text(package)
        size, limit = size_of(body), self._limit(band)
        if size > limit:
            raise PackageTooLarge(
                f"The package has {size} bytes, and the SQS queue {self.band_queue(band)} accepts at most {limit}: "
                "send a reference instead of the data."
            )
        return body

    def _limit(self, band: Band) -> int:
        if band not in self._limits:
            self._limits[band] = self._attribute("MaximumMessageSize", DEFAULT_MAX_BYTES, band)
        return self._limits[band]

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue(self) -> list[tuple[AckId | None, str | bytes]] | None:
        return [found[:2] for found in self.dequeue_many(self.settings.bulk, self._long_poll(1))] or None

    def receive(self, band: Band, limit: int, wait: int) -> list[Delivery] | None:
        """Fetch up to *limit*, at most ten packages of a band."""
        limit = min(self.wanted(limit), MAX_BATCH_ENTRIES)
        if limit < 1:
            return []
        asked_at = time.time()
        messages = self._messages(band, limit, wait)
        if messages is None:
            return None
        return self.deliveries_of([received(each, band, asked_at) for each in messages])

    def _messages(self, band: Band, limit: int, wait: int) -> list[dict[str, Any]] | None:
        """Receive messages. Return None if the queue of a band other than the normal one does not exist."""
        arguments = {
            "AttributeNames": [RECEIVE_COUNT_ATTRIBUTE, SENT_AT],
            "MaxNumberOfMessages": limit,
            "VisibilityTimeout": lease_seconds(self.settings.retry),
            "WaitTimeSeconds": wait,
        }
        answer = self._call_existing("receive_message", band, **arguments)
        return None if answer is None else list(answer.get("Messages", ()))

    def longest_wait(self) -> float:
        """Return the maximum wait of a fetch in seconds."""
        return self._long_poll(MAX_WAIT_SECONDS)

    def _long_poll(self, default: float) -> float:
        """Return the maximum wait of a fetch in seconds: the setting, or *default*, within the limits of SQS."""
        given = (self.settings.sqs or {}).get(WAIT_KEY)
        return min(max(float(default if given is None else given), 0), MAX_WAIT_SECONDS)

    # -- settling -------------------------------------------------------------------------------------------------

    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        lost = set(self._settle("delete_message_batch", {ack_id: {} for ack_id in ack_ids}))
        return [ack_id for ack_id in ack_ids if ack_id in lost]

    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        return self._hide(ack_ids, self.settings.retry)

    def release_messages(self, ack_ids: Sequence[str], delay: float) -> list[str]:
        return self._hide(ack_ids, delay)

    def _hide(self, ack_ids: Sequence[str], seconds: float) -> list[str]:
        """Set the visibility timeout of messages, at most until the twelve hours after their receipt have passed."""
        now = time.time()
        left = {ack_id: MAX_LEASE_SECONDS - max(now - Receipt.of(ack_id).received_at, 0) for ack_id in ack_ids}
        options = {
            ack_id: {"VisibilityTimeout": min(lease_seconds(seconds), int(left[ack_id]))}
            for ack_id in ack_ids
            if left[ack_id] >= 1
        }
        lost = {*self._settle("change_message_visibility_batch", options), *(ack_ids - options.keys())}
        return [ack_id for ack_id in ack_ids if ack_id in lost]

    def _settle(self, operation: str, options: dict[str, dict[str, int]]) -> list[str]:
        """Apply an operation to leased messages, and return the ack ids of lost leases.

        If a request fails, the others are still sent, unless SQS cannot be reached.

        Args:
            operation: name of the boto3 method.
            options: options of each message, by ack id.
        """
        lost: list[str] = []
        failure: BrokerUnavailable | None = None
        parts = [(band, part) for band, ids in by_band(options).items() for part in entry_batches(ids)]
        for band, part in parts:
            try:
                lost += self._settle_part(operation, band, {ack_id: options[ack_id] for ack_id in part})
            except BrokerUnavailable as error:
                is_second = failure is not None
                failure = error
                if is_second or is_no_answer(error):
                    break
        if failure is not None:
            raise failure
        return lost

    def _settle_part(self, operation: str, band: Band, options: dict[str, dict[str, int]]) -> list[str]:
        """Settle at most ten messages, and repeat entries that failed because of a fault of SQS."""
        ack_ids, lost = list(options), list[str]()
        entries = [
            {"Id": str(n), "ReceiptHandle": Receipt.of(ack_id).handle, **options[ack_id]}
            for n, ack_id in enumerate(ack_ids)
        ]
        for _attempt in range(MAX_TRIES):
            failed = self._call(operation, band=band, Entries=entries).get("Failed", ())
            lost += [
                ack_ids[int(each["Id"])] for each in failed if not has_temporary_fault(each) and not is_too_long(each)
            ]
            again = {each["Id"] for each in failed if has_temporary_fault(each)}
            if not again:
                return lost
            entries = [entry for entry in entries if entry["Id"] in again]
        raise BrokerUnavailable(f"SQS could not settle {len(entries)} packages.")

    # -- the queue ------------------------------------------------------------------------------------------------

    def queue_size(self) -> int:
        """Return the approximate number of waiting messages of all bands; SQS knows no exact one."""
        return self._total("ApproximateNumberOfMessages")

    def lock_size(self) -> int:
        """Return the approximate number of leased messages of all bands."""
        return self._total("ApproximateNumberOfMessagesNotVisible")

    def _total(self, attribute: str) -> int:
        """Return the sum of a number attribute of the queues of all bands."""
        answers = self._call_all("get_queue_attributes", AttributeNames=[attribute])
        return sum(int(answer.get("Attributes", {}).get(attribute, 0)) for answer in answers)

    def purge_queue(self) -> None:
        """Delete all messages, also leased ones. SQS purges once a minute; otherwise, messages are fetched."""
        for band in bands_of(self.list_key):
            try:
                self._call_existing("purge_queue", band)
            except BrokerError as error:
                cause = error.__cause__
                if not isinstance(cause, self.connection.exceptions.PurgeQueueInProgress):
                    raise
                self._delete_older(band, server_time(cause.response))

    def _delete_older(self, band: Band, moment: float) -> None:
        """Fetch and delete older messages, while producers may send new ones.

        Args:
            band: band whose queue has them.
            moment: maximum time at which they were sent, in seconds since 1970.
        """
        while True:
            asked_at = time.time()
            messages = self._messages(band, MAX_BATCH_ENTRIES, 1) or ()
            ids = {received(each, band, asked_at).lease.ack_id: sent_at(each) <= moment for each in messages}
            older = [ack_id for ack_id, is_older in ids.items() if is_older]
            self.acknowledge_many(older)
            self.release_many([ack_id for ack_id, is_older in ids.items() if not is_older])
            if not older:
                return

    def delete_queue(self) -> None:
        """Delete the queues of all bands, and the dead-letter queue."""
        with converting_errors():
            found = [*map(self._find_url, bands_of(self.list_key)), self._ask_for_url(self.dead_key)]
            for url in filter(None, found):
                self.connection.delete_queue(QueueUrl=url)
        self._urls.clear()

    def ping(self) -> bool:
        try:
            with converting_errors():
                self._ask_for_url(self.list_key)
        except (BrokerError, ConfigurationError):
            return False
        return True

    def info(self) -> str:
        return "AWS SQS"

    # -- requests -------------------------------------------------------------------------------------------------

    def _call(self, operation: str, *, band: Band = Band.NORMAL, **arguments: Any) -> Any:
        """Send a request about the queue of a band, which is created if it is missing; raise the errors of brokers."""
        with converting_errors():
            try:
                return self._ask(operation, self._queue_url(band), arguments)
            except self.connection.exceptions.QueueDoesNotExist:
                self._urls.pop(band, None)
                return self._ask(operation, self._queue_url(band), arguments)

    def _call_existing(self, operation: str, band: Band, **arguments: Any) -> Any:
        """Send a request about the queue of a band. Return None if a queue other than the normal one is missing."""
        if band is Band.NORMAL:
            return self._call(operation, **arguments)
        with converting_errors():
            if (url := self._known_url(band)) is None:
                return None
            try:
                return self._ask(operation, url, arguments)
            except self.connection.exceptions.QueueDoesNotExist:
                self._urls.pop(band, None)
                return None

    def _call_all(self, operation: str, **arguments: Any) -> list[Any]:
        """Send a request about the queue of each band, and return the answers about those that exist."""
        answers = []
        for band in self.present_bands():
            if (answer := self._call_existing(operation, band, **arguments)) is None:
                self.note_missing(band)
            else:
                answers.append(answer)
        return answers

    def _ask(self, operation: str, url: str, arguments: dict[str, Any]) -> Any:
        return getattr(self.connection, operation)(QueueUrl=url, **arguments)

    def _queue_url(self, band: Band = Band.NORMAL) -> str:
        """Return the URL of the queue of a band, which is created if it is missing."""
        if band not in self._urls:
            if (problem := self.name_problem(self._live_key())) is not None:
                raise ConfigurationError(f"The queue {self.list_key!r} cannot exist: {problem}.")
            name = self.band_queue(band)
            self._urls[band] = self._ask_for_url(name) or self._create(name)
            self.note_present(band)
        return self._urls[band]

    def _known_url(self, band: Band) -> str | None:
        """Return the URL of the queue of a band, which may be kept from an earlier request; None if it is missing."""
        if band not in self._urls and (url := self._find_url(band)) is not None:
            self._urls[band] = url
        return self._urls.get(band)

    def _find_url(self, band: Band) -> str | None:
        """Return the URL of the queue of a band; None if it is missing, or if the key may not use that of a band."""
        try:
            return self._ask_for_url(self.band_queue(band))
        except ClientError as error:
            if band is Band.NORMAL or not is_denied(error):
                raise
            return None

    def _live_key(self) -> str:
        """Return the name without the suffix of a dead-letter queue."""
        name = self.list_key.removesuffix(FIFO_SUFFIX)
        return name.removesuffix(DEAD_SUFFIX) + self.list_key[len(name) :]

    def _ask_for_url(self, name: str) -> str | None:
        client = self.connection
        try:
            return value_of(client.get_queue_url(QueueName=name), "QueueUrl")
        except client.exceptions.QueueDoesNotExist:
            return None

    def _create(self, name: str) -> str:
        answer = self.connection.create_queue(QueueName=name, Attributes=self._new_queue())
        return value_of(answer, "QueueUrl")

    def _new_queue(self) -> dict[str, str]:
        fifo = {"FifoQueue": "true"} if self.is_fifo else {}
        return {"MessageRetentionPeriod": str(RETENTION_SECONDS), **fifo}

    def _attribute(self, name: str, default: int, band: Band = Band.NORMAL) -> int:
        """Return the current value of a number attribute of the queue of a band."""
        answer = self._call("get_queue_attributes", band=band, AttributeNames=[name])
        return int(answer.get("Attributes", {}).get(name, default))


class Receipt(NamedTuple):
    """Handle that settles a delivery, and the time of its receipt, which limits the lease."""

    received_at: float
    """Time of the receipt in seconds since 1970, by the clock of this host."""
    handle: str

    @classmethod
    def of(cls, ack_id: str) -> Self:
        """Read an ack id."""
        received_at, colon, handle = Lease.of(ack_id).receipt.partition(":")
        return cls(float(received_at), handle) if colon else cls(time.time(), received_at)

    def __str__(self) -> str:
        return f"{self.received_at:.3f}:{self.handle}"


def received(message: dict[str, Any], band: Band, asked_at: float) -> Received:
    """Convert a message of SQS.

    Args:
        message: the message, as boto3 returns it.
        band: band whose queue has it.
        asked_at: time of the request, in seconds since 1970.
    """
    lease = Lease(message["MessageId"], str(Receipt(asked_at, message["ReceiptHandle"])), band)
    return Received(lease, message["Body"], int(message.get("Attributes", {}).get(RECEIVE_COUNT_ATTRIBUTE, 1)))


def sent_at(message: dict[str, Any]) -> float:
    """Return the time at which a message was sent, in seconds since 1970, by the clock of SQS."""
    return int(message.get("Attributes", {}).get(SENT_AT, 0)) / 1000


def lease_seconds(seconds: float) -> int:
    """Return a visibility timeout in whole seconds, within the limit of SQS."""
    return min(math.ceil(seconds), MAX_LEASE_SECONDS)
