"""Broker with queues in memory, for tests. Reference implementation of the whole contract."""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import Client, Connection
from typing import TYPE_CHECKING, Any, cast

from django_q.brokers.base import EXACT_PRIORITIES, Delivery
from django_q.brokers.bulk import BulkBroker
from django_q.brokers.listing import ListedPackage
from django_q.brokers.memory_queue import MemoryQueue, local_queue
from django_q.exceptions import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers.listing import PackageState

ADDRESS = "DJANGO_Q_MEMORY"
"""Environment variable: Unix socket of the process that has the queues. Without it, each process has its own."""


class RemoteQueue:
    """A `MemoryQueue` of the process that listens at *address*."""

    def __init__(self, address: str, list_key: str) -> None:
        self._address = address
        self._list_key = list_key
        self._local = threading.local()

    def close(self) -> None:
        """Close the connection of this thread."""
        connection: Connection | None = vars(self._local).pop("connection", None)
        if connection is not None:
            connection.close()

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self._call(name, args)

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        try:
            connection: Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = cast("Connection", Client(self._address, "AF_UNIX"))
            connection.send((self._list_key, name, args))
            return connection.recv()
        except (OSError, EOFError) as error:
            self._local.connection = None
            raise BrokerUnavailable(f"No process listens at {self._address}: {error}") from error


class MemoryBroker(BulkBroker):
    """Keeps queues in the memory of one process. Supports the whole broker contract."""

    supports_delay = float("inf")
    supports_lock_size = True
    supports_dead_letters = True
    supports_listing = True
    supports_prefetch = True
    priorities = EXACT_PRIORITIES
    blocks = True
    precision = 0.1

    def _queue(self) -> MemoryQueue:
        address = os.environ.get(ADDRESS)
        if address is None:
            return local_queue(self.list_key)
        queue: RemoteQueue | None = self.connection
        if queue is None or (queue._address, queue._list_key) != (address, self.list_key):
            queue = self.connection = RemoteQueue(address, self.list_key)
        return cast("MemoryQueue", queue)

    def disconnect(self) -> None:
        """Close the connection to the process that has the queues."""
        if self.connection is not None:
            self.connection.close()

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        """Append a package, visible after *delay* seconds, and return its id."""
        return self._queue().put([package], delay, priority)[0]

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        """Append packages and return their ids."""
        return self._queue().put(packages, 0, priority)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Lease up to *limit* packages; wait up to *wait* seconds for the first."""
        taken = self._queue().take(limit, wait, self.settings.retry, self.is_fair_fetch())
        return [Delivery(*each) for each in taken]

    def acknowledge_many(self, ack_ids: Sequence[int]) -> list[int]:
        """Delete leased packages; return the ids whose lease was lost."""
        return self._queue().settle(ack_ids)

    def renew(self, ack_ids: Sequence[int]) -> list[int]:
        """Extend leases to `retry` seconds from now; return the ids whose lease was lost."""
        return self._queue().renew(ack_ids, self.settings.retry)

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        """Release packages for *delay* seconds; return the ids whose lease was lost."""
        return self._queue().release(ack_ids, delay)

    def expire(self, ack_id: int) -> bool:
        """Expire a lease now. Return False if it was lost."""
        return not self._queue().renew([ack_id], 0)

    def fail(self, ack_id: int) -> bool:
        """Move a package to the dead letters. Return False if the lease was lost."""
        return not self._queue().move_to_dead_letters([ack_id])

    def dead_size(self) -> int:
        """Count the dead letters."""
        return self._queue().sizes()[2]

    def requeue_dead(self, limit: int | None = None) -> int:
        """Append up to *limit* dead letters to the queue and return their number."""
        return self._queue().requeue_dead(limit)

    def list_dead(self, limit: int) -> list[str]:
        """Return the packages of up to *limit* dead letters, oldest first."""
        return self._queue().list_dead(limit)

    def delete_dead(self, package: str) -> bool:
        """Delete a dead letter with this package. Return False if there is none."""
        return self._queue().delete_dead(package)

    def queue_size(self) -> int:
        """Count the waiting packages."""
        return self._queue().sizes()[0]

    def lock_size(self) -> int:
        """Count the leases."""
        return self._queue().sizes()[1]

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        """Return packages of one state, without leasing them."""
        return [ListedPackage(*each) for each in self._queue().list_packages(state.value, limit, offset)]

    def purge_queue(self) -> None:
        """Delete the packages that wait or are delayed."""
        self._queue().purge()

    def delete_queue(self) -> None:
        """Delete all packages."""
        self._queue().clear()

    def ping(self) -> bool:
        """Return True if the process that has the queues is available."""
        try:
            self._queue().sizes()
        except BrokerUnavailable:
            return False
        return True

    def info(self) -> str:
        """Return the name of the product."""
        return "Memory"
