"""A broker that keeps its queues in memory: for tests, and the first to keep the whole contract."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections import deque
from multiprocessing.connection import Client, Connection
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django_q.brokers.base import Delivery
from django_q.brokers.bulk import BulkBroker
from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ADDRESS = "DJANGO_Q_MEMORY"
"""Environment variable: the Unix socket of the process whose memory is used; without it, this process's own."""


class Entry(NamedTuple):
    """A package in a queue."""

    package: str
    attempts: int = 0
    """Earlier deliveries that count as attempts."""

    def attempted(self) -> Entry:
        """Return the entry after a delivery that counts."""
        return self._replace(attempts=self.attempts + 1)


class MemoryQueue:
    """One queue: packages that wait, are leased, are hidden for a while, or are dead letters."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tokens = itertools.count(1)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        with self._changed:
            self.waiting: deque[Entry] = deque()
            self.hidden: list[tuple[float, int, Entry]] = []
            self.leased: dict[int, tuple[float, Entry]] = {}
            self.dead: deque[Entry] = deque()

    def purge(self) -> None:
        """Forget the packages that wait or are hidden."""
        with self._changed:
            self._offer()
            self.waiting.clear()
            self.hidden.clear()

    def put(self, packages: Sequence[str], delay: float) -> list[int]:
        """Append *packages*, visible in *delay* seconds."""
        with self._changed:
            tokens = [next(self._tokens) for _ in packages]
            for token, package in zip(tokens, packages, strict=True):
                self._hide(token, Entry(package), delay)
            self._changed.notify_all()
        return tokens

    def take(self, limit: int, wait: float, lease: float) -> list[tuple[int, str, int]]:
        """Lease up to *limit* packages for *lease* seconds; wait up to *wait* seconds for the first.

        Returns:
            Token, package and attempt number of each.
        """
        deadline = time.monotonic() + wait
        with self._changed:
            while (due := self._offer()) is not None and (pause := min(due, deadline) - time.monotonic()) > 0:
                self._changed.wait(pause)
                if time.monotonic() >= deadline:
                    break
            self._offer()
            count = max(min(limit, len(self.waiting)), 0)
            taken = [(next(self._tokens), self.waiting.popleft()) for _ in range(count)]
            self.leased.update((token, (time.monotonic() + lease, entry)) for token, entry in taken)
            return [(token, entry.package, entry.attempts + 1) for token, entry in taken]

    def settle(self, tokens: Sequence[int]) -> list[int]:
        """Forget leased packages; return the tokens that are not valid any more."""
        return self._end(tokens, lambda _token, _entry: None)

    def renew(self, tokens: Sequence[int], lease: float) -> list[int]:
        """Begin leases again; return the tokens that are not valid any more."""
        expiry = time.monotonic() + lease
        return self._end(tokens, lambda token, entry: self.leased.update({token: (expiry, entry)}))

    def release(self, tokens: Sequence[int], delay: float) -> list[int]:
        """Offer leased packages again: now at the head, or in *delay* seconds as failed attempts."""
        if delay > 0:
            return self._end(tokens, lambda token, entry: self._hide(token, entry.attempted(), delay))
        return self._end(tokens[::-1], lambda _token, entry: self.waiting.appendleft(entry))[::-1]

    def move_to_dead_letters(self, tokens: Sequence[int]) -> list[int]:
        """Move leased packages to the dead letters."""
        return self._end(tokens, lambda _token, entry: self.dead.append(Entry(entry.package)))

    def requeue_dead(self, limit: int | None) -> int:
        """Offer dead letters again."""
        with self._changed:
            count = len(self.dead) if limit is None else min(limit, len(self.dead))
            self.waiting.extend(self.dead.popleft() for _ in range(count))
            self._changed.notify_all()
        return count

    def sizes(self) -> tuple[int, int, int]:
        """Return how many packages wait, are leased, are dead letters."""
        with self._changed:
            self._offer()
            return len(self.waiting), len(self.leased), len(self.dead)

    def _end(self, tokens: Sequence[int], then: Callable[[int, Entry], None]) -> list[int]:
        with self._changed:
            self._offer()
            known = [token for token in tokens if token in self.leased]
            for token in known:
                then(token, self.leased.pop(token)[1])
            self._changed.notify_all()
        return [token for token in tokens if token not in known]

    def _hide(self, token: int, entry: Entry, delay: float) -> None:
        if delay > 0:
            heapq.heappush(self.hidden, (time.monotonic() + delay, token, entry))
        else:
            self.waiting.append(entry)

    def _offer(self) -> float | None:
        """Make visible what is due; return None if a package waits, else when the next one is due."""
        now = time.monotonic()
        while self.hidden and self.hidden[0][0] <= now:
            self.waiting.append(heapq.heappop(self.hidden)[2])
        expired = [token for token, (expiry, _entry) in self.leased.items() if expiry <= now]
        self.waiting.extendleft([self.leased.pop(token)[1].attempted() for token in expired][::-1])
        if self.waiting:
            return None
        return min((each[0] for each in (*self.hidden[:1], *self.leased.values())), default=float("inf"))


_QUEUES: ProcessLocal[dict[str, MemoryQueue]] = ProcessLocal(dict)


def local_queue(list_key: str) -> MemoryQueue:
    """The queue of that name in this process."""
    return _QUEUES.get().setdefault(list_key, MemoryQueue())


class RemoteQueue:
    """A `MemoryQueue` of the process that listens at *address*."""

    def __init__(self, address: str, list_key: str) -> None:
        self._address = address
        self._list_key = list_key
        self._local = threading.local()

    def close(self) -> None:
        """Close the connection of this thread."""
        line: Connection | None = vars(self._local).pop("line", None)
        if line is not None:
            line.close()

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self._call(name, args)

    def _call(self, name: str, args: tuple[Any, ...]) -> Any:
        try:
            line: Connection | None = getattr(self._local, "line", None)
            if line is None:
                line = self._local.line = cast("Connection", Client(self._address, "AF_UNIX"))
            line.send((self._list_key, name, args))
            return line.recv()
        except (OSError, EOFError) as error:
            self._local.line = None
            raise BrokerUnavailable(f"Nobody listens at {self._address}: {error}") from error


class MemoryBroker(BulkBroker):
    """Queues in the memory of one process, with everything the contract knows."""

    supports_delay = float("inf")
    supports_lock_size = True
    supports_dead_letters = True
    supports_prefetch = True
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
        """Close the connection to the process of the queues."""
        if self.connection is not None:
            self.connection.close()

    def enqueue(self, package: str, *, delay: float = 0) -> int:
        """Append a package, or hide it for *delay* seconds."""
        return self._queue().put([package], delay)[0] if delay else self.enqueue_many([package])[0]

    def enqueue_many(self, packages: Sequence[str]) -> list[int]:
        """Append packages."""
        return self._queue().put(packages, 0)

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Lease up to *limit* packages."""
        return [Delivery(*taken) for taken in self._queue().take(limit, wait, self.settings.retry)]

    def acknowledge_many(self, ack_ids: Sequence[int]) -> list[int]:
        """Forget leased packages."""
        return self._queue().settle(ack_ids)

    def renew(self, ack_ids: Sequence[int]) -> list[int]:
        """Begin leases again."""
        return self._queue().renew(ack_ids, self.settings.retry)

    def release_many(self, ack_ids: Sequence[int], delay: float = 0) -> list[int]:
        """Offer packages again, now or later."""
        return self._queue().release(ack_ids, delay)

    def expire(self, ack_id: int) -> bool:
        """Expire a lease now."""
        return not self._queue().renew([ack_id], 0)

    def fail(self, ack_id: int) -> bool:
        """Move a package to the dead letters."""
        return not self._queue().move_to_dead_letters([ack_id])

    def dead_size(self) -> int:
        """Count the dead letters."""
        return self._queue().sizes()[2]

    def requeue_dead(self, limit: int | None = None) -> int:
        """Append dead letters to the queue."""
        return self._queue().requeue_dead(limit)

    def queue_size(self) -> int:
        """Count what waits."""
        return self._queue().sizes()[0]

    def lock_size(self) -> int:
        """Count the leases."""
        return self._queue().sizes()[1]

    def purge_queue(self) -> None:
        """Forget what waits and what is hidden."""
        self._queue().purge()

    def delete_queue(self) -> None:
        """Forget everything."""
        self._queue().clear()

    def ping(self) -> bool:
        """Is the process there whose memory it is?"""
        try:
            self._queue().sizes()
        except BrokerUnavailable:
            return False
        return True

    def info(self) -> str:
        """Name the product."""
        return "Memory"
