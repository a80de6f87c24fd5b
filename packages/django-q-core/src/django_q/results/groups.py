"""Groups in the cache, with one key per member, so that concurrent writers do not overwrite each other.

A member takes the next free *place* of its group by `cache.add`, which succeeds for one writer only. The *head* of the
group contains the approximate range of its places. It is a hint: clusters may overwrite each other's heads.
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

MAX_WINDOW_KEYS: Final = 500
"""Maximum number of keys that are read in one round trip."""

LOOK_AHEAD_KEYS: Final = 8
"""Number of places after the head's range that are read in addition."""

MAX_REFUSALS: Final = 3
"""Number of failed `add` calls for an empty place after which the cache, whose client hides errors, is unavailable."""

K = TypeVar("K", bound=Hashable)


class Member(NamedTuple):
    """An outcome of a task in a group."""

    id: str
    """The task's id."""
    success: bool
    """True if the task succeeded."""


class PlaceRange(NamedTuple):
    """Approximate range of the used places of a group."""

    first: int = 1
    """First place; all places before it are expired."""
    last: int = 0
    """Last place; a few places after it may be used, too."""
    until: float | None = 0
    """Time at which the last member expires, in seconds since the epoch; None means never."""


class CachedGroups:
    """Groups whose keys have a common prefix.

    Args:
        cache: contains the groups. Its `add` must be atomic: that of the file-based cache is not.
        prefix: of the keys.
    """

    def __init__(self, cache: BaseCache, prefix: str) -> None:
        self.cache = cache
        self.prefix = prefix

    def add(self, groups: Mapping[str, Sequence[Member]], timeout: int | None) -> None:
        """Add members to several groups.

        Args:
            groups: the new members of each.
            timeout: time to live in seconds; None means no limit.

        Raises:
            ResultsUnavailable: the cache does not store them.
        """
        heads = {group: self._head(value) for group, value in self._many({g: self.head_key(g) for g in groups}).items()}
        for group, members in groups.items():
            head = heads.get(group, PlaceRange())
            last = self._take(group, members, head.last, timeout)
            head = self._trimmed(group, head._replace(last=last), 2 * len(members))
            self._keep(group, head, timeout)

    def read(self, group: str) -> list[Member]:
        """Return the members of a group, each with its last outcome, in the order in which they were first added."""
        head = self._head(self.cache.get(self.head_key(group)))
        found: dict[str, Member] = {}
        for _, member in self._places(group, head):
            found[member.id] = member
        return list(found.values())

    def count_at_most(self, group: str) -> int:
        """Return an upper bound for the number of members of a group, with one or two reads."""
        head = self._head(self.cache.get(self.head_key(group)))
        return self._last(group, head) - head.first + 1

    def delete(self, group: str) -> None:
        """Delete a group, but not the tasks of its members."""
        head = self._head(self.cache.get(self.head_key(group)))
        keys = [self.place_key(group, place) for place in range(head.first, self._last(group, head) + 1)]
        self.cache.delete_many([self.head_key(group), *keys])

    def head_key(self, group: str) -> str:
        """Return the key of the head of a group."""
        return safe_key(f"{self.prefix}:{quote(group, errors='replace')}:head", self.cache)

    def place_key(self, group: str, place: int) -> str:
        """Return the key of a place of a group."""
        return safe_key(f"{self.prefix}:{quote(group, errors='replace')}:{place}", self.cache)

    def _take(self, group: str, members: Sequence[Member], last: int, timeout: int | None) -> int:
        for member in members:
            last = self._take_one(group, member, last + 1, timeout)
        return last

    def _take_one(self, group: str, member: Member, place: int, timeout: int | None) -> int:
        """Take the next free place, and return its number. `add` returns False for an unavailable cache, too."""
        refusals, step = 0, LOOK_AHEAD_KEYS
        while not self.cache.add(self.place_key(group, place), tuple(member), timeout):
            taken = self._many({each: self.place_key(group, each) for each in range(place, place + step)})
            if place not in taken:
                refusals += 1
                if refusals == MAX_REFUSALS:
                    raise ResultsUnavailable("The cache stores no member of a group: check that it runs, and CACHES.")
            elif tuple(taken[place]) == member:
                return place  # an earlier attempt succeeded, and its answer was lost
            else:
                place = next(each for each in range(place + 1, place + step + 1) if each not in taken)
                refusals, step = 0, min(2 * step, MAX_WINDOW_KEYS)
        return place

    def _trimmed(self, group: str, head: PlaceRange, max_places: int) -> PlaceRange:
        """Skip expired places, at most twice as many as were taken, so that the range does not grow."""
        places = range(head.first, min(head.first + max_places, head.last) + 1)
        found = self._many({place: self.place_key(group, place) for place in {*places, head.last}})
        if head.last not in found:
            return head  # it was taken just now, so the cache is unavailable
        first = next((place for place in places if place in found), places[-1] if places else head.first)
        return head._replace(first=first)

    def _keep(self, group: str, head: PlaceRange, timeout: int | None) -> None:
        now = time.time()
        if timeout is None or head.until is None:
            head, left = head._replace(until=None), None
        else:
            head = head._replace(until=max(head.until, now + timeout))
            left = ceil((head.until or now) - now)
        self.cache.set(self.head_key(group), tuple(head), left)

    def _places(self, group: str, head: PlaceRange) -> Iterator[tuple[int, Member]]:
        """Yield the used places of a group, window by window, and beyond the head while there are any."""
        start, more = head.first, True
        while more:
            end = start + min(max(head.last - start, 0) + LOOK_AHEAD_KEYS, MAX_WINDOW_KEYS)
            window = self._many({place: self.place_key(group, place) for place in range(start, end)})
            yield from ((place, Member(*window[place])) for place in sorted(window))
            more = end <= head.last or end - 1 in window
            start = end

    def _last(self, group: str, head: PlaceRange) -> int:
        """Return the last used place, which may be later than that of the head."""
        last = head.last
        while self.cache.get(self.place_key(group, last + 1)) is not None:
            last += 1
        return last

    def _many(self, keys: Mapping[K, str]) -> dict[K, Any]:
        """Read several keys; return the values that exist, by the names of their keys."""
        found = self.cache.get_many(list(keys.values())) or {}
        return {name: found[key] for name, key in keys.items() if key in found}

    @staticmethod
    def _head(value: object) -> PlaceRange:
        return PlaceRange(*value) if isinstance(value, (tuple, list)) else PlaceRange()
