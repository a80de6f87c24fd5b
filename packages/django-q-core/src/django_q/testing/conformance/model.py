"""Model of a queue: predicts its contents from the calls that were made."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

from django_q.brokers import EXACT_PRIORITIES

from .suite import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import AckId, Delivery

RELEASED_RANK = 0
"""Rank of packages that were released before their tasks started: they precede all that were never leased."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A package that waits or is leased."""

    package: str
    attempts: int = 0
    """Number of earlier attempts."""
    priority: int | None = 0
    """Number of its priority or band; None if the contract does not define it."""
    rank: int | None = None
    """A package is delivered before those of its priority with a higher rank; None if the contract does not define
    the order."""

    @property
    def is_new(self) -> bool:
        """True if the package was never leased."""
        return self.rank is not None and self.rank > RELEASED_RANK


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeasedEntry:
    """A lease."""

    delivery: Delivery
    entry: Entry


class Model:
    """One queue. Each method has the effect of one call to the broker, and checks or predicts the answer.

    Args:
        in_order: True if the product keeps the order of packages.
        beside_leases: True if packages are delivered while others of their priority are leased.
        priorities: number of priorities that the broker tells apart.
    """

    def __init__(self, *, in_order: bool, beside_leases: bool = True, priorities: int = 1) -> None:
        self._ranks = itertools.count(RELEASED_RANK + 1)
        self._in_order = in_order
        self._beside_leases = beside_leases
        self._priorities = priorities
        self.waiting: dict[str, Entry] = {}
        self.leased: dict[AckId | None, LeasedEntry] = {}
        self.stale: list[Delivery] = []
        self.dead: list[Entry] = []
        self.later: set[str] = set()

    def sent(self, packages: Sequence[str], priority: int = 0) -> None:
        """Append packages of one priority."""
        if self._priorities == 1:
            priority = 0
        elif self._priorities < EXACT_PRIORITIES:
            priority = (priority > 0) - (priority < 0)  # the contract does not define more than three bands
        for package in packages:
            self._add(Entry(package=package, priority=priority, rank=next(self._ranks)))

    def fetched(self, found: Sequence[Delivery], *, fair: bool = False) -> None:
        """Check that packages could be delivered in this order, and lease those with a receipt.

        Args:
            found: the deliveries.
            fair: True if the fetch begins with the oldest package of a lower priority.
        """
        taken: list[Entry] = []
        for each in found:
            assert text(each.package) in self.waiting, f"{each} does not wait"
            entry = self.waiting.pop(text(each.package))
            taken.append(entry)
            assert each.attempt == entry.attempts + 1, f"{each} is attempt {entry.attempts + 1}"
        in_order = self._without_fair(taken) if fair and taken else taken
        for each, entry in zip(found, taken, strict=True):
            if each.ack_id is not None:
                assert each.ack_id not in self.leased, f"{each} has the id of another delivery"
                assert each.ack_id not in [old.ack_id for old in self.stale], f"{each} has the id of an earlier one"
                self.leased[each.ack_id] = LeasedEntry(delivery=each, entry=entry)
        self._check_order(in_order)

    def _without_fair(self, taken: list[Entry]) -> list[Entry]:
        """Check the first package of a fair fetch, and return those that have to be in order."""
        first, *others = taken
        offered = [each for each in (*taken, *self.waiting.values()) if not self._is_blocked(each.priority)]
        known = [each.priority for each in offered if each.priority is not None]
        if len(known) < len(offered):
            return others
        # Bands cannot tell whether a higher one is empty, so each but the highest counts as lower.
        greatest = max(known) if self._priorities >= EXACT_PRIORITIES else 1
        lower = [each for each in offered if each.priority is not None and each.priority < greatest]
        if not lower:
            return taken
        assert first in lower, f"{first} came before {lower}"
        if self._in_order and self._priorities >= EXACT_PRIORITIES and first.is_new:
            older = [each for each in lower if each.is_new and self._is_before(each, first)]
            assert not older, f"{first} came before {older}"
        return others

    def _check_order(self, taken: Sequence[Entry]) -> None:
        """Check that packages were delivered in order, and before those that still wait."""
        for earlier, later in itertools.combinations(taken, 2):
            assert not self._precedes(later, earlier), f"{earlier} came before {later}"
        # A product without order may have asked one of several servers for the rest of a priority.
        for entry in taken if self._in_order else taken[:1]:
            passed = [each for each in self.waiting.values() if self._precedes(each, entry)]
            assert not passed, f"{entry} came before {passed}"

    def _precedes(self, one: Entry, other: Entry) -> bool:
        """Return True if the contract requires that *one* is delivered before *other*."""
        if one.priority is None or other.priority is None:
            return False
        if one.priority != other.priority:
            return one.priority > other.priority and not self._is_blocked(one.priority)
        return self._in_order and self._is_before(one, other)

    @staticmethod
    def _is_before(one: Entry, other: Entry) -> bool:
        return one.rank is not None and other.rank is not None and one.rank < other.rank

    def _is_blocked(self, priority: int | None) -> bool:
        """Return True if leases may prevent the delivery of packages of a priority."""
        held = {lease.entry.priority for lease in self.leased.values()}
        return not self._beside_leases and bool(held & {priority, None})

    def lost(self, ack_ids: Sequence[AckId | None]) -> list[AckId | None]:
        """Predict the ids whose lease is reported as lost."""
        return [ack_id for ack_id in ack_ids if ack_id not in self.leased]

    def acknowledged(self, ack_ids: Sequence[AckId | None]) -> None:
        """Delete packages."""
        for _held in self._end(ack_ids):
            pass

    def released(self, ack_ids: Sequence[AckId | None]) -> None:
        """Make packages visible, before all that were never leased."""
        for held in self._end(ack_ids):
            self._add(dataclasses.replace(held.entry, rank=RELEASED_RANK))

    def hidden(self, ack_ids: Sequence[AckId | None]) -> None:
        """Hide packages for longer than the duration of the test."""
        self.later |= {held.entry.package for held in self._end(ack_ids)}

    def expired(self, ack_ids: Sequence[AckId | None]) -> None:
        """Make packages visible, with one more attempt."""
        for held in self._end(ack_ids):
            self._add(dataclasses.replace(held.entry, rank=None, attempts=held.entry.attempts + 1))

    def moved_to_dead_letters(self, ack_ids: Sequence[AckId | None]) -> None:
        """Move packages to the dead letters."""
        self.dead += [held.entry for held in self._end(ack_ids)]

    def requeued(self) -> None:
        """Append all dead letters to the queue."""
        rank = next(self._ranks)
        for entry in self.dead:
            priority = None if entry.priority else 0  # a broker may forget the priority of a dead letter
            self._add(Entry(package=entry.package, priority=priority, rank=rank))
        self.dead.clear()

    def purged(self) -> None:
        """Delete the waiting packages."""
        self.waiting.clear()

    def deleted(self) -> None:
        """Delete all packages."""
        self.waiting.clear()
        self.dead.clear()
        self.acknowledged(list(self.leased))

    def _add(self, entry: Entry) -> None:
        self.waiting[entry.package] = entry

    def _end(self, ack_ids: Sequence[AckId | None]) -> list[LeasedEntry]:
        ended = [self.leased.pop(ack_id) for ack_id in ack_ids if ack_id in self.leased]
        self.stale += [held.delivery for held in ended]
        return ended
