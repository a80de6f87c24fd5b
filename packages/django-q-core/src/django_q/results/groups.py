"""The members of a group in the cache: a key each, so that nobody's write undoes another's.

A member takes the next free *place* of its group by `cache.add`, which only one can do. Where the next free place
roughly is, the group's *head* says; two clusters may overwrite each other's head, and lose nothing but the hint.
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

from django_q.caches.keys import safe_key
from django_q.exceptions import ResultsUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.core.cache.backends.base import BaseCache

WINDOW: Final = 500
"""Number of keys that are read in one round trip."""

A_FEW: Final = 8
"""How many places past the head are read with it."""

MAX_REFUSALS: Final = 3
"""How often a place may be neither taken nor empty: a cache that ignores its errors says so while it is unavailable."""

K = TypeVar("K", bound=Hashable)


class Member(NamedTuple):
    """An outcome of a task in a group."""

    id: str
    """The task's id."""
    success: bool
    """Whether the task returned."""


class Head(NamedTuple):
    """Where the places of a group are, roughly."""

    first: int = 1
    """All before it are gone for good."""
    last: int = 0
    """All up to it were taken once; a few after it may be."""
    until: float | None = 0
    """When the last member expires, in seconds of the epoch; None means never."""


class CachedGroups:
    """The groups under one prefix.

    Args:
        cache: where they are. Its `add` must be atomic: that of the file-based cache is not.
        prefix: what the keys begin with.
    """

    def __init__(self, cache: BaseCache, prefix: str) -> None:
        self.cache = cache
        self.prefix = prefix

    def add(self, groups: Mapping[str, Sequence[Member]], timeout: int | None) -> None:
        """Add members to several groups.

        Args:
            groups: the new members of each.
            timeout: seconds they are kept; None means for ever.

        Raises:
            ResultsUnavailable: the cache does not take them.
        """
        heads = {group: self._head(value) for group, value in self._many({g: self.head_key(g) for g in groups}).items()}
        for group, members in groups.items():
            head = heads.get(group, Head())
            last = self._take(group, members, head.last, timeout)
            head = self._trimmed(group, head._replace(last=last), 2 * len(members))
            self._keep(group, head, timeout)

    def read(self, group: str) -> list[Member]:
        """Give the members of a group, the last outcome of each, in the order in which they were first added."""
        head = self._head(self.cache.get(self.head_key(group)))
        found: dict[str, Member] = {}
        for _, member in self._places(group, head):
            found[member.id] = member
        return list(found.values())

    def count_at_most(self, group: str) -> int:
        """Give a number that the group's members do not exceed, at the cost of one or two reads."""
        head = self._head(self.cache.get(self.head_key(group)))
        return self._last(group, head) - head.first + 1

    def delete(self, group: str) -> None:
        """Forget a group; its members' own keys stay."""
        head = self._head(self.cache.get(self.head_key(group)))
        keys = [self.place_key(group, place) for place in range(head.first, self._last(group, head) + 1)]
        self.cache.delete_many([self.head_key(group), *keys])

    def head_key(self, group: str) -> str:
        """The key of a group's head."""
        return safe_key(f"{self.prefix}:{quote(group, errors='replace')}:head", self.cache)

    def place_key(self, group: str, place: int) -> str:
        """The key of a place in a group."""
        return safe_key(f"{self.prefix}:{quote(group, errors='replace')}:{place}", self.cache)

    def _take(self, group: str, members: Sequence[Member], last: int, timeout: int | None) -> int:
        for member in members:
            last = self._take_one(group, member, last + 1, timeout)
        return last

    def _take_one(self, group: str, member: Member, place: int, timeout: int | None) -> int:
        """Take the next free place and return its number; `add` returns False for an unavailable cache, too."""
        refusals, step = 0, A_FEW
        while not self.cache.add(self.place_key(group, place), tuple(member), timeout):
            taken = self._many({each: self.place_key(group, each) for each in range(place, place + step)})
            if place not in taken:
                refusals += 1
                if refusals == MAX_REFUSALS:
                    raise ResultsUnavailable("The cache takes no member of a group: check that it runs, and CACHES.")
            elif tuple(taken[place]) == member:
                return place  # the answer to an earlier attempt was lost
            else:
                place = next(each for each in range(place + 1, place + step + 1) if each not in taken)
                refusals, step = 0, min(2 * step, WINDOW)
        return place

    def _trimmed(self, group: str, head: Head, most: int) -> Head:
        """Pass over places that have expired: twice as many as were taken, so that the gap never grows."""
        places = range(head.first, min(head.first + most, head.last) + 1)
        found = self._many({place: self.place_key(group, place) for place in {*places, head.last}})
        if head.last not in found:
            return head  # that place was taken just now: the cache is unavailable
        first = next((place for place in places if place in found), places[-1] if places else head.first)
        return head._replace(first=first)

    def _keep(self, group: str, head: Head, timeout: int | None) -> None:
        now = time.time()
        if timeout is None or head.until is None:
            head, left = head._replace(until=None), None
        else:
            head = head._replace(until=max(head.until, now + timeout))
            left = ceil((head.until or now) - now)
        self.cache.set(self.head_key(group), tuple(head), left)

    def _places(self, group: str, head: Head) -> Iterator[tuple[int, Member]]:
        """Read window after window, and past the head as long as there is something."""
        start, more = head.first, True
        while more:
            end = start + min(max(head.last - start, 0) + A_FEW, WINDOW)
            window = self._many({place: self.place_key(group, place) for place in range(start, end)})
            yield from ((place, Member(*window[place])) for place in sorted(window))
            more = end <= head.last or end - 1 in window
            start = end

    def _last(self, group: str, head: Head) -> int:
        """Find the last place that is taken: the head may be a few behind."""
        last = head.last
        while self.cache.get(self.place_key(group, last + 1)) is not None:
            last += 1
        return last

    def _many(self, keys: Mapping[K, str]) -> dict[K, Any]:
        """Read several keys, and give what was found by the names they were given under."""
        found = self.cache.get_many(list(keys.values())) or {}
        return {name: found[key] for name, key in keys.items() if key in found}

    @staticmethod
    def _head(value: object) -> Head:
        return Head(*value) if isinstance(value, (tuple, list)) else Head()
