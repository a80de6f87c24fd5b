"""Which iters are not collated yet, written down by who sends them: nobody may be left who knows of their members."""

from __future__ import annotations

import time
from contextlib import contextmanager
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from django.db import connections, transaction

from django_q.conf import logger
from django_q.results.cache import CacheResults
from django_q.results.unavailable import ResultsUnavailable
from django_q.results.windows import WINDOW, read_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from django_q.brokers import Broker

LIST: Final = "open"
"""What the keys of the list begin with, after the queue's; a group of that name has other keys."""

TABLES: Final = (500, 5_000, 50_000)
"""How many places there are: the next table is for those who find theirs in one taken."""

TRIES: Final = 3
"""How many places of a table an iter may take. Which, its id tells, so nobody need ask."""

KEPT: Final = 14 * 86_400
"""Seconds until an iter is struck off that no cluster has collated, from when its members may run: as long as the most
patient product keeps a package."""

PATIENCE: Final = 24 * 3600.0
"""Seconds without a result after which an iter is collated as it is, where the queue does not tell that it is empty."""

SENDING: Final = 0.001
"""Seconds that it takes at most to queue a member: many of them may be there only when the last one is."""


class Watched(NamedTuple):
    """An iter that is not collated yet; of plain values only, which a cluster can read that lacks the iter's code."""

    id: str
    """The iter's id."""
    count: int
    """How many members it has."""
    said: dict[str, Any] | None = None
    """What a member says of the iter, as long as none is known to have finished: afterwards they say it themselves."""
    due: float = 0
    """Until when its members may be where nobody sees them, in seconds of the epoch; infinite when nobody knows."""

    def is_due(self) -> bool:
        """Whether its members are in the queue, unless something has happened to them."""
        return time.time() >= self.due


class Watchlist:
    """The open iters of a queue, in the cache beside their members.

    Args:
        cache: where the members are. Its `add` must be atomic, as that of `Members`.
    """

    def __init__(self, cache: CacheResults) -> None:
        self.cache = cache

    def add(self, watched: Watched, timeout: float = KEPT) -> None:
        """Write down an iter that is not on the list: one command, unless the list is very long.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        self.cache.at_work(lambda: self._add(watched, timeout))

    def _add(self, watched: Watched, timeout: float) -> None:
        seconds = ceil(timeout)
        for table, key in self._places(watched.id):
            if self.cache.cache.add(key, tuple(watched), seconds):
                if table:
                    self.cache.cache.set(self._used(table), True, max(seconds, KEPT))
                return
        logger.warning("The iter %s is not watched: too many others are not collated yet.", watched.id)

    def begin(self, counts: Mapping[str, int]) -> None:
        """Note that members of iters have finished.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        if counts:
            self.cache.at_work(lambda: self._begin(counts))

    def _begin(self, counts: Mapping[str, int]) -> None:
        found = self._find(list(counts))
        for iter_id, count in counts.items():
            watched = Watched(iter_id, count)
            if iter_id in found:
                self.cache.cache.set(found[iter_id], tuple(watched), KEPT)
            else:
                self._add(watched, KEPT)

    def replace(self, watched: Watched, timeout: float = KEPT) -> None:
        """Change what is written of an iter, if it is on the list.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        cache = self.cache.cache
        self.cache.at_work(
            lambda: [cache.set(key, tuple(watched), ceil(timeout)) for key in self._find([watched.id]).values()]
        )

    def remove(self, iter_ids: Iterable[str]) -> None:
        """Strike iters off: they are collated.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        self.cache.at_work(lambda: self._remove(list(iter_ids)))

    def _remove(self, iter_ids: Sequence[str]) -> None:
        if keys := list(self._find(iter_ids).values()):
            self.cache.cache.delete_many(keys)

    def has(self, iter_id: str) -> bool:
        """Tell whether an iter is open.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        return bool(self.cache.at_work(lambda: self._find([iter_id])))

    def read(self) -> dict[str, Watched]:
        """Give the open iters by their ids; a short list costs one command.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        return self.cache.at_work(self._read)

    def _read(self) -> dict[str, Watched]:
        used = {self._used(table): table for table in range(1, len(TABLES))}
        found = self._many([*used, *self._table(0)])
        for table in [used[key] for key in found if key in used]:
            found |= self._many(self._table(table))
        return {value[0]: Watched(*value) for key, value in found.items() if key not in used}

    def _find(self, iter_ids: Sequence[str]) -> dict[str, str]:
        """Find the keys of iters."""
        places = {iter_id: [key for _, key in self._places(iter_id)] for iter_id in iter_ids}
        found = self._many([key for keys in places.values() for key in keys])
        return {
            iter_id: key
            for iter_id, keys in places.items()
            for key in keys
            if key in found and found[key][0] == iter_id
        }

    def _many(self, keys: Sequence[str]) -> dict[str, Any]:
        return read_many(self.cache.cache, keys, WINDOW + len(TABLES))

    def _places(self, iter_id: str) -> Iterator[tuple[int, str]]:
        for table, size in enumerate(TABLES):
            for turn in range(TRIES):
                yield table, self._place(table, crc32(f"{turn}{table}{iter_id}".encode()) % size)

    def _table(self, table: int) -> list[str]:
        return [self._place(table, place) for place in range(TABLES[table])]

    def _place(self, table: int, place: int) -> str:
        return f"{self._used(table)}:{place}"

    def _used(self, table: int) -> str:
        """The key that is there when a table may hold something; the first is always looked at."""
        return self.cache.key(f"{LIST}:{table}")


@contextmanager
def watched(iter_id: str, count: int, said: dict[str, Any], broker: Broker, delay: float) -> Iterator[None]:
    """Have an iter watched that is sent within this block, from before its first member can be run.

    What is queued in a transaction is not looked for before that commits, nor at all when it rolls back. A cache that
    is away stops nobody: the iter is watched from when one of its members has finished.

    Args:
        iter_id: its id.
        count: how many members it has.
        said: what they say of it.
        broker: they are sent through it.
        delay: seconds for which they are held back; longer than the broker can, schedules do it, which may be late.
    """
    watchlist = Watchlist(CacheResults(broker.settings, broker.list_key))
    late = PATIENCE if delay > broker.supports_delay else 0
    wait = delay + late + count * SENDING
    entry, kept = Watched(iter_id, count, said, time.time() + wait), KEPT + wait
    alias = _transaction_of(broker)
    if alias is None:
        _try(lambda: watchlist.add(entry, kept), iter_id)
    else:
        _try(lambda: watchlist.add(entry._replace(due=inf), PATIENCE), iter_id)
        transaction.on_commit(lambda: _try(lambda: watchlist.replace(entry, kept), iter_id), using=alias)
    try:
        yield
    except BaseException:
        _try(lambda: watchlist.remove([iter_id]), iter_id)
        raise


def _transaction_of(broker: Broker) -> str | None:
    """Name the database whose transaction holds back what is queued now; None if it is there at once."""
    alias = broker.alias
    if alias is None or alias not in connections:
        return None
    return alias if connections[alias].in_atomic_block else None


def _try(write: Callable[[], None], iter_id: str) -> None:
    try:
        write()
    except ResultsUnavailable as error:
        logger.warning("The iter %s is not watched until one of its members has finished: %s", iter_id, error)
