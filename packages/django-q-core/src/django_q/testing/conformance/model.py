"""Model of a queue: predicts its contents from the calls that were made."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

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
    rank: int | None = None
    """A package is delivered before those of higher rank; None if the contract does not define the order."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeasedEntry:
    """A lease."""

    delivery: Delivery
    entry: Entry


class Model:
    """One queue. Each method has the effect of one call to the broker, and checks or predicts the answer.

    Args:
        in_order: True if the product keeps the order of packages.
    """

    def __init__(self, *, in_order: bool) -> None:
        self._ranks = itertools.count(RELEASED_RANK + 1)
        self._in_order = in_order
        self.waiting: dict[str, Entry] = {}
        self.leased: dict[AckId | None, LeasedEntry] = {}
        self.stale: list[Delivery] = []
        self.dead: list[str] = []
        self.later: set[str] = set()

    def sent(self, packages: Sequence[str]) -> None:
        """Append packages."""
        for package in packages:
            self._add(Entry(package=package, rank=next(self._ranks)))

    def fetched(self, found: Sequence[Delivery]) -> None:
        """Check that packages could be delivered, and lease those with a receipt."""
        taken: list[Entry] = []
        for each in found:
            assert text(each.package) in self.waiting, f"{each} does not wait"
            entry = self.waiting.pop(text(each.package))
            taken.append(entry)
            assert each.attempt == entry.attempts + 1, f"{each} is attempt {entry.attempts + 1}"
            if each.ack_id is not None:
                assert each.ack_id not in self.leased, f"{each} has the id of another delivery"
                assert each.ack_id not in [old.ack_id for old in self.stale], f"{each} has the id of an earlier one"
                self.leased[each.ack_id] = LeasedEntry(delivery=each, entry=entry)
        if self._in_order:
            ranks = [entry.rank for entry in taken if entry.rank is not None]
            assert ranks == sorted(ranks), f"{found} came in another order than {sorted(ranks)}"
            latest = max(ranks, default=RELEASED_RANK)
            passed = [each for each in self.waiting.values() if each.rank is not None and each.rank < latest]
            assert not passed, f"{found} came before {passed}"

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
        self.dead += [held.entry.package for held in self._end(ack_ids)]

    def requeued(self) -> None:
        """Append all dead letters to the queue."""
        rank = next(self._ranks)
        for package in self.dead:
            self._add(Entry(package=package, rank=rank))
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
