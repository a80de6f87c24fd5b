"""Queues in the memory of one process."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, NamedTuple

from django_q.brokers.listing import PackageState
from django_q.brokers.process_local import ProcessLocal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Entry(NamedTuple):
    """A package in a queue."""

    package: str
    number: int = 0
    """Position in the order of arrival."""
    priority: int = 0
    attempts: int = 0
    """Earlier deliveries that count as attempts."""

    @property
    def rank(self) -> int:
        """The negative priority: packages are delivered in ascending order of their ranks."""
        return -self.priority

    def attempted(self) -> Entry:
        """Return the entry with one more attempt."""
        return self._replace(attempts=self.attempts + 1)


RANK = attrgetter("rank")


class MemoryQueue:
    """One queue: packages that wait, are leased, are delayed, or are dead letters.

    Args:
        clock: returns the time in seconds, monotonically.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._changed = threading.Condition()
        self._tokens = itertools.count(1)
        self.clear()

    def clear(self) -> None:
        """Delete all packages."""
        with self._changed:
            self.waiting: deque[Entry] = deque()
            """In the order of delivery: by priority, and packages of the same priority by age."""
            self.hidden: list[tuple[float, int, Entry]] = []
            self.leased: dict[int, tuple[float, Entry]] = {}
            self.dead: deque[Entry] = deque()

    def purge(self) -> None:
        """Delete the packages that wait or are delayed."""
        with self._changed:
            self._move_due()
            self.waiting.clear()
            self.hidden.clear()

    def put(self, packages: Sequence[str], delay: float, priority: int = 0) -> list[int]:
        """Append *packages* of one priority, visible after *delay* seconds, and return their tokens."""
        with self._changed:
            tokens = [next(self._tokens) for _ in packages]
            for token, package in zip(tokens, packages, strict=True):
                self._hide(token, Entry(package, token, priority), delay)
            self._changed.notify_all()
        return tokens

    def take(self, limit: int, wait: float, lease: float, fair: bool = False) -> list[tuple[int, str, int]]:
        """Lease up to *limit* packages for *lease* seconds; wait up to *wait* seconds for the first.

        Args:
            limit: maximum number of packages.
            wait: seconds.
            lease: seconds.
            fair: True to begin with the oldest package of a lower priority.

        Returns:
            Token, package and attempt number of each.
        """
        deadline = self.clock() + wait
        with self._changed:
            while (due := self._move_due()) is not None and (pause := min(due, deadline) - self.clock()) > 0:
                self._changed.wait(pause)
                if self.clock() >= deadline:
                    break
            self._move_due()
            if fair:
                self._move_oldest_of_lower_priority()
            count = max(min(limit, len(self.waiting)), 0)
            taken = [(next(self._tokens), self.waiting.popleft()) for _ in range(count)]
            self.leased.update((token, (self.clock() + lease, entry)) for token, entry in taken)
            return [(token, entry.package, entry.attempts + 1) for token, entry in taken]

    def settle(self, tokens: Sequence[int]) -> list[int]:
        """Delete leased packages; return the tokens whose lease was lost."""
        return self._end(tokens, lambda _token, _entry: None)

    def renew(self, tokens: Sequence[int], lease: float) -> list[int]:
        """Extend leases to *lease* seconds from now; return the tokens whose lease was lost."""
        expiry = self.clock() + lease
        return self._end(tokens, lambda token, entry: self.leased.update({token: (expiry, entry)}))

    def release(self, tokens: Sequence[int], delay: float) -> list[int]:
        """Release leased packages: at once to the head, or after *delay* seconds as failed attempts."""
        if delay > 0:
            return self._end(tokens, lambda token, entry: self._hide(token, entry.attempted(), delay))
        return self._end(tokens[::-1], lambda _token, entry: self._prepend(entry))[::-1]

    def move_to_dead_letters(self, tokens: Sequence[int]) -> list[int]:
        """Move leased packages to the dead letters; return the tokens whose lease was lost."""
        return self._end(tokens, lambda _token, entry: self.dead.append(entry._replace(attempts=0)))

    def requeue_dead(self, limit: int | None) -> int:
        """Append up to *limit* dead letters to the queue and return their number."""
        with self._changed:
            count = len(self.dead) if limit is None else min(limit, len(self.dead))
            for _ in range(count):
                entry = self.dead.popleft()._replace(number=next(self._tokens))
                self._append(entry)
            self._changed.notify_all()
        return count

    def list_dead(self, limit: int) -> list[str]:
        """Return the packages of up to *limit* dead letters, oldest first."""
        with self._changed:
            return [entry.package for entry in self.dead][: max(limit, 0)]

    def list_packages(self, state: str, limit: int, offset: int) -> list[tuple[str, float]]:
        """Return package and remaining seconds of the packages of one `PackageState`."""
        with self._changed:
            self._move_due()
            now = self.clock()
            parts: dict[str, Iterable[tuple[str, float]]] = {
                PackageState.WAITING: ((entry.package, 0.0) for entry in self.waiting),
                PackageState.DELAYED: ((entry.package, due - now) for due, _token, entry in sorted(self.hidden)),
                PackageState.LEASED: (
                    (entry.package, end - now) for end, entry in sorted(self.leased.values(), key=itemgetter(0))
                ),
                PackageState.DEAD: ((entry.package, 0.0) for entry in self.dead),
            }
            return list(itertools.islice(parts[state], offset, offset + max(limit, 0)))

    def delete_dead(self, package: str) -> bool:
        """Delete a dead letter with this package. Return False if there is none."""
        with self._changed:
            found = next((entry for entry in self.dead if entry.package == package), None)
            if found is not None:
                self.dead.remove(found)
            return found is not None

    def sizes(self) -> tuple[int, int, int]:
        """Return the numbers of waiting packages, leases and dead letters."""
        with self._changed:
            self._move_due()
            return len(self.waiting), len(self.leased), len(self.dead)

    def _append(self, entry: Entry) -> None:
        """Insert a package behind all others of its priority."""
        self.waiting.insert(bisect_right(self.waiting, entry.rank, key=RANK), entry)

    def _prepend(self, entry: Entry) -> None:
        """Insert a package before all others of its priority."""
        self.waiting.insert(bisect_left(self.waiting, entry.rank, key=RANK), entry)

    def _move_oldest_of_lower_priority(self) -> None:
        """Move the oldest package with a lower priority than the first one to the head."""
        lower = [entry for entry in self.waiting if entry.rank > self.waiting[0].rank]
        if lower:
            oldest = min(lower, key=attrgetter("number"))
            self.waiting.remove(oldest)
            self.waiting.appendleft(oldest)

    def _end(self, tokens: Sequence[int], then: Callable[[int, Entry], None]) -> list[int]:
        with self._changed:
            self._move_due()
            known = [token for token in tokens if token in self.leased]
            for token in known:
                then(token, self.leased.pop(token)[1])
            self._changed.notify_all()
        return [token for token in tokens if token not in known]

    def _hide(self, token: int, entry: Entry, delay: float) -> None:
        if delay > 0:
            heapq.heappush(self.hidden, (self.clock() + delay, token, entry))
        else:
            self._append(entry)

    def _move_due(self) -> float | None:
        """Make due packages visible; return None if a package waits, else the time at which the next one is due."""
        now = self.clock()
        while self.hidden and self.hidden[0][0] <= now:
            self._append(heapq.heappop(self.hidden)[2])
        expired = [token for token, (expiry, _entry) in self.leased.items() if expiry <= now]
        for token in reversed(expired):
            self._prepend(self.leased.pop(token)[1].attempted())
        if self.waiting:
            return None
        return min((each[0] for each in (*self.hidden[:1], *self.leased.values())), default=float("inf"))


_QUEUES: ProcessLocal[dict[str, MemoryQueue]] = ProcessLocal(dict)


def local_queue(list_key: str) -> MemoryQueue:
    """Return the queue with the name *list_key* in this process."""
    return _QUEUES.get().setdefault(list_key, MemoryQueue())
