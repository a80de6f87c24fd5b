"""Which iters are not complete yet, written down for the monitor that comes after a killed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_q.results.members import WINDOW, Member, Members

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_q.results.cache import CacheResults

LIST: Final = "open"
"""What the key of the list begins with, after the queue's; a group of that name has other keys."""

GROUP: Final = "iters"


class Watchlist:
    """The open iters of a queue, in the cache beside their members.

    Each iter has a key of its own, which is there as long as it is open; the list only says which keys to look for.
    So the list may name an iter twice, or one that is over.

    Args:
        cache: where the members are.
    """

    def __init__(self, cache: CacheResults) -> None:
        self.cache = cache

    @property
    def _list(self) -> Members:
        return Members(self.cache.cache, f"{self.cache.list_key}:{LIST}")

    def add(self, counts: dict[str, int]) -> None:
        """Write iters down, with the number of their members.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        if counts:
            self.cache.at_work(lambda: self._add(counts))

    def _add(self, counts: dict[str, int]) -> None:
        self.cache.cache.set_many({self._key(iter_id): count for iter_id, count in counts.items()}, None)
        self._list.add({GROUP: [Member(iter_id, success=True) for iter_id in counts]}, None)

    def remove(self, iter_ids: Iterable[str]) -> None:
        """Strike iters off: they are collated.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        keys = [self._key(iter_id) for iter_id in iter_ids]
        self.cache.at_work(lambda: self.cache.cache.delete_many(keys))

    def read(self) -> dict[str, int]:
        """Give the open iters, and shorten the list to them.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        return self.cache.at_work(self._read)

    def _read(self) -> dict[str, int]:
        named = [member.id for member in self._list.read(GROUP)]
        counts = self._counts(named)
        if gone := {iter_id for iter_id in named if iter_id not in counts}:
            self._list.remove(GROUP, gone)
        return counts

    def has(self, iter_id: str) -> bool:
        """Tell whether an iter is open.

        Raises:
            ResultsUnavailable: the cache is away.
        """
        return bool(self.cache.at_work(lambda: self._counts([iter_id])))

    def _counts(self, iter_ids: list[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for start in range(0, len(iter_ids), WINDOW):
            keys = {self._key(iter_id): iter_id for iter_id in iter_ids[start : start + WINDOW]}
            found = self.cache.cache.get_many(list(keys))
            counts |= {keys[key]: count for key, count in found.items()}
        return counts

    def _key(self, iter_id: str) -> str:
        return f"{self.cache.key(iter_id)}:open"
