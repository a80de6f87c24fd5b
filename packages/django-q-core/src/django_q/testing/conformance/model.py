"""Contents of a queue, as predicted from the calls that were made."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

from .suite import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import AckId, Delivery

RETURNED = 0
"""Rank of packages that were released before their tasks started: they go before all that were never taken."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A package that waits or is leased."""

    package: str
    attempts: int = 0
    """Number of earlier attempts."""
    rank: int | None = None
    """A package is offered before those of higher rank; None if the contract does not tell."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """A lease."""

    delivery: Delivery
    entry: Entry


class Model:
    """One queue; each method changes it as the call of the same name, and checks or predicts the answer."""

    def __init__(self, *, in_order: bool) -> None:
        self._ranks = itertools.count(RETURNED + 1)
        self._in_order = in_order
        self.waiting: dict[str, Entry] = {}
        self.leased: dict[AckId | None, Held] = {}
        self.stale: list[Delivery] = []
        self.dead: list[str] = []
        self.later: set[str] = set()

    def sent(self, packages: Sequence[str]) -> None:
        """Append packages."""
        for package in packages:
            self._offer(Entry(package=package, rank=next(self._ranks)))

    def fetched(self, found: Sequence[Delivery]) -> None:
        """Check that packages could be delivered, and lease those that have to be acknowledged."""
        taken: list[Entry] = []
        for each in found:
            assert text(each.package) in self.waiting, f"{each} does not wait"
            entry = self.waiting.pop(text(each.package))
            taken.append(entry)
            assert each.attempt == entry.attempts + 1, f"{each} is attempt {entry.attempts + 1}"
            if each.ack_id is not None:
                assert each.ack_id not in self.leased, f"{each} has the id of another delivery"
                assert each.ack_id not in [old.ack_id for old in self.stale], f"{each} has the id of an earlier one"
                self.leased[each.ack_id] = Held(delivery=each, entry=entry)
        if self._in_order:
            ranks = [entry.rank for entry in taken if entry.rank is not None]
            assert ranks == sorted(ranks), f"{found} came in another order than {sorted(ranks)}"
            latest = max(ranks, default=RETURNED)
            passed = [each for each in self.waiting.values() if each.rank is not None and each.rank < latest]
            assert not passed, f"{found} came before {passed}"

    def lost(self, ack_ids: Sequence[AckId | None]) -> list[AckId | None]:
        """Predict which leases are reported as lost."""
        return [ack_id for ack_id in ack_ids if ack_id not in self.leased]

    def acknowledged(self, ack_ids: Sequence[AckId | None]) -> None:
        """Forget packages."""
        for _held in self._end(ack_ids):
            pass

    def released(self, ack_ids: Sequence[AckId | None]) -> None:
        """Offer packages again, before all that were never taken."""
        for held in self._end(ack_ids):
            self._offer(dataclasses.replace(held.entry, rank=RETURNED))

    def hidden(self, ack_ids: Sequence[AckId | None]) -> None:
        """Hide packages for longer than the test takes."""
        self.later |= {held.entry.package for held in self._end(ack_ids)}

    def expired(self, ack_ids: Sequence[AckId | None]) -> None:
        """Offer packages again, after one more attempt."""
        for held in self._end(ack_ids):
            self._offer(dataclasses.replace(held.entry, rank=None, attempts=held.entry.attempts + 1))

    def moved_to_dead_letters(self, ack_ids: Sequence[AckId | None]) -> None:
        """Move packages to the dead letters."""
        self.dead += [held.entry.package for held in self._end(ack_ids)]

    def requeued(self) -> None:
        """Append all dead letters."""
        rank = next(self._ranks)
        for package in self.dead:
            self._offer(Entry(package=package, rank=rank))
        self.dead.clear()

    def purged(self) -> None:
        """Forget what waits."""
        self.waiting.clear()

    def deleted(self) -> None:
        """Forget everything."""
        self.waiting.clear()
        self.dead.clear()
        self.acknowledged(list(self.leased))

    def _offer(self, entry: Entry) -> None:
        self.waiting[entry.package] = entry

    def _end(self, ack_ids: Sequence[AckId | None]) -> list[Held]:
        ended = [self.leased.pop(ack_id) for ack_id in ack_ids if ack_id in self.leased]
        self.stale += [held.delivery for held in ended]
        return ended
