"""Amazon SQS as the broker."""

from __future__ import annotations

import math
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - not the built-in one, nor a descendant of it
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from django_q.brokers.base import as_text
from django_q.brokers.counted import CountedBroker, Lease, Received
from django_q.conf import current_settings
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError, PackageTooLarge

from django_q_sqs.batches import MOST, fitting, size_of, tens
from django_q_sqs.client import WAIT_KEY, client_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django_q.brokers import AckId, Delivery

LONGEST_WAIT = 20
"""Seconds that a long poll lasts at most."""

LONGEST_LEASE = 43_200
"""Seconds that a message can be invisible at most: twelve hours from when it was received."""

LONGEST_DELAY = 900
"""Seconds that a new message can be hidden at most."""

RETENTION = 1_209_600
"""Seconds that SQS keeps a message of a queue we create: 14 days, the most there is; its own default is 4."""

LARGEST = 1_048_576
"""Bytes of the largest message, where the queue does not tell."""

AGAIN = 3
"""How often the messages of a batch that SQS itself stumbled over are sent again."""

RECEIVED = "ApproximateReceiveCount"
"""The attribute that says how often a message was received, this time included."""


class Sqs(CountedBroker):
    """Packages are messages of an SQS queue; a lease is their visibility timeout."""

    supports_delay: float = LONGEST_DELAY
    supports_lock_size = True
    blocks = True

    _url: str | None = None
    """The queue's address, when this process knows it."""
    _largest: int | None = None
    """Bytes of the largest message the queue takes, when this process knows it."""

    @property
    def list_key(self) -> str:  # pyrefly: ignore[bad-override]
        """The name of the queue."""
        return self._list_key

    @list_key.setter
    def list_key(self, name: str) -> None:
        self._list_key, self._url, self._largest = name, None, None
        # A FIFO queue delays all messages alike, or none.
        self.supports_delay = 0 if self.is_fifo else LONGEST_DELAY

    @property
    def is_fifo(self) -> bool:
        """Does the queue keep the order? Its name tells."""
        return self.list_key.endswith(".fifo")

    @property
    def dead_key(self) -> str:
        return f"{self.list_key.removesuffix('.fifo')}-dead{'.fifo' if self.is_fifo else ''}"

    def connect(self) -> Any:
        return client_for(self.settings)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        return client_for(current_settings())

    def disconnect(self) -> None:
        """Close the connections of this process."""
        self.connection.close()

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0) -> str:
        if delay > self.supports_delay:
            raise BrokerError(f"SQS hides packages of {self.list_key} for {self.supports_delay:g} s at most: {delay:g}")
        body = self._checked(package)
        options = {"DelaySeconds": math.ceil(delay)} if delay > 0 else {}
        return str(self._call("send_message", MessageBody=body, **options, **self._order())["MessageId"])

    def enqueue_many(self, packages: Sequence[str]) -> list[str]:
        bodies = [self._checked(package) for package in packages]
        return [sent for part in fitting(bodies, self._limit() if bodies else 0) for sent in self._send(part)]

    def _send(self, bodies: Sequence[str]) -> list[str]:
        """Send one batch, and again what SQS itself stumbled over."""
        entries = {str(n): {"Id": str(n), "MessageBody": body, **self._order()} for n, body in enumerate(bodies)}
        ids: dict[str, str] = {}
        for _attempt in range(AGAIN):
            left = [entry for key, entry in entries.items() if key not in ids]
            answer = self._call("send_message_batch", Entries=left)
            ids.update((sent["Id"], sent["MessageId"]) for sent in answer.get("Successful", ()))
            failed = answer.get("Failed", ())
            if refused := [each for each in failed if each["SenderFault"]]:
                raise BrokerError(f"SQS refuses {len(refused)} of {len(bodies)} packages: {refused[0]}")
            if not failed:
                return [ids[key] for key in entries]
        raise BrokerUnavailable(f"SQS could not take {len(entries) - len(ids)} of {len(bodies)} packages.")

    def _order(self) -> dict[str, str]:
        """One group, so that the order is kept, and an id, so that a request that is repeated counts once."""
        if not self.is_fifo:
            return {}
        return {"MessageGroupId": "django-q", "MessageDeduplicationId": uuid.uuid4().hex}

    def _checked(self, package: str) -> str:
        body = as_text(package)
        size, limit = size_of(body), self._limit()
        if size > limit:
            raise PackageTooLarge(
                f"The package has {size} bytes, the SQS queue {self.list_key} takes {limit} at most: "
                "send a reference instead of the data."
            )
        return body

    def _limit(self) -> int:
        if self._largest is None:
            self._largest = self._attribute("MaximumMessageSize", LARGEST)
        return self._largest

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue(self) -> list[tuple[AckId | None, str | bytes]] | None:
        return [found[:2] for found in self.dequeue_many(self.settings.bulk, self._long_poll(1))] or None

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Take up to *limit* and ten packages; SQS waits whole seconds, what is left is slept."""
        deadline = time.monotonic() + wait
        found = self._receive(min(self.wanted(limit), MOST), int(min(wait, self._long_poll(LONGEST_WAIT))))
        if not found:
            time.sleep(max(min(deadline - time.monotonic(), self.settings.poll), 0))
        return found

    def _receive(self, limit: int, wait: int) -> list[Delivery]:
        if limit < 1:
            return []
        answer = self._call(
            "receive_message",
            AttributeNames=[RECEIVED],
            MaxNumberOfMessages=limit,
            VisibilityTimeout=lease_seconds(self.settings.retry),
            WaitTimeSeconds=wait,
        )
        return self.hand_out([received(each) for each in answer.get("Messages", ())])

    def _long_poll(self, default: float) -> float:
        """Seconds that a fetch waits at most: as the settings say, within what SQS takes."""
        given = (self.settings.sqs or {}).get(WAIT_KEY)
        return min(max(float(default if given is None else given), 0), LONGEST_WAIT)

    # -- settling -------------------------------------------------------------------------------------------------

    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        return self._settle("delete_message_batch", ack_ids)

    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        return self._hide(ack_ids, self.settings.retry)

    def release_messages(self, ack_ids: Sequence[str], delay: float) -> list[str]:
        return self._hide(ack_ids, delay)

    def _hide(self, ack_ids: Sequence[str], seconds: float) -> list[str]:
        return self._settle("change_message_visibility_batch", ack_ids, VisibilityTimeout=lease_seconds(seconds))

    def _settle(self, operation: str, ack_ids: Sequence[str], **options: int) -> list[str]:
        """Do something to leased messages and give those whose lease was lost."""
        lost: list[str] = []
        for part in tens(ack_ids):
            receipts = [Lease.of(ack_id).receipt for ack_id in part]
            entries = [{"Id": str(n), "ReceiptHandle": receipt, **options} for n, receipt in enumerate(receipts)]
            failed = self._call(operation, Entries=entries).get("Failed", ())
            if stumbled := [each for each in failed if not each["SenderFault"]]:
                raise BrokerUnavailable(f"SQS could not settle {len(stumbled)} packages: {stumbled[0]}")
            lost += [part[int(each["Id"])] for each in failed]
        return lost

    # -- the queue ------------------------------------------------------------------------------------------------

    def queue_size(self) -> int:
        """How many messages wait, approximately: SQS does not know better."""
        return self._attribute("ApproximateNumberOfMessages", 0)

    def lock_size(self) -> int:
        """How many messages are under a lease, approximately."""
        return self._attribute("ApproximateNumberOfMessagesNotVisible", 0)

    def purge_queue(self) -> None:
        """Forget all messages, those under a lease too; SQS does it once a minute, otherwise they are fetched."""
        with reaching():
            try:
                self._ask("purge_queue")
            except self.connection.exceptions.PurgeQueueInProgress:
                while waiting := self._receive(MOST, 1):
                    self.acknowledge_many([str(delivery.ack_id) for delivery in waiting])

    def delete_queue(self) -> None:
        with reaching():
            if url := self._ask_for_url():
                self.connection.delete_queue(QueueUrl=url)
        self._url = None

    def ping(self) -> bool:
        try:
            with reaching():
                self._ask_for_url()
        except (BrokerError, ConfigurationError):
            return False
        return True

    def info(self) -> str:
        return "AWS SQS"

    # -- requests -------------------------------------------------------------------------------------------------

    def _call(self, operation: str, **arguments: Any) -> Any:
        """Make a request about the queue, with our errors."""
        with reaching():
            return self._ask(operation, **arguments)

    def _ask(self, operation: str, **arguments: Any) -> Any:
        """Make a request about the queue, which is made when it is missing."""
        client = self.connection
        try:
            return getattr(client, operation)(QueueUrl=self._queue_url(), **arguments)
        except client.exceptions.QueueDoesNotExist:
            self._url = None
            return getattr(client, operation)(QueueUrl=self._queue_url(), **arguments)

    def _queue_url(self) -> str:
        if self._url is None:
            self._url = self._ask_for_url() or self._create()
        return self._url

    def _ask_for_url(self) -> str | None:
        client = self.connection
        try:
            return str(client.get_queue_url(QueueName=self.list_key)["QueueUrl"])
        except client.exceptions.QueueDoesNotExist:
            return None

    def _create(self) -> str:
        answer = self.connection.create_queue(QueueName=self.list_key, Attributes=self._new_queue())
        return str(answer["QueueUrl"])

    def _new_queue(self) -> dict[str, str]:
        fifo = {"FifoQueue": "true"} if self.is_fifo else {}
        return {"MessageRetentionPeriod": str(RETENTION), **fifo}

    def _attribute(self, name: str, default: int) -> int:
        """An attribute of the queue as it is now."""
        answer = self._call("get_queue_attributes", AttributeNames=[name])
        return int(answer.get("Attributes", {}).get(name, default))


@contextmanager
def reaching() -> Iterator[None]:
    """Turn what boto3 raises into the errors of brokers."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigurationError(
            f"SQS needs credentials, in Q_CLUSTER['sqs'] or as boto3 finds them: {error}"
        ) from error
    except (ConnectionError, HTTPClientError) as error:
        raise BrokerUnavailable(f"SQS cannot be reached: {error}") from error
    except BotoCoreError as error:
        raise BrokerError(f"SQS cannot be asked: {error}") from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or "Throttl" in str(error):
            raise BrokerUnavailable(f"SQS is not able to answer: {error}") from error
        raise BrokerError(f"SQS refuses: {error}") from error


def received(message: dict[str, Any]) -> Received:
    """Read a message as SQS delivers it."""
    lease = Lease(message["MessageId"], message["ReceiptHandle"])
    return Received(lease, message["Body"], int(message.get("Attributes", {}).get(RECEIVED, 1)))


def lease_seconds(seconds: float) -> int:
    """Whole seconds of invisibility, within what SQS takes."""
    return min(math.ceil(seconds), LONGEST_LEASE)
