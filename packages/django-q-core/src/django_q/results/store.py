"""Stores outcomes in the database or the cache, as the options of their tasks say."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from django_q.results.cache import CacheResults
from django_q.results.database import DatabaseResults
from django_q.wire.package import is_member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome


class MemberStore(Protocol):
    """Saves the members of iters."""

    def save_many(self, members: Sequence[Outcome], is_final: Callable[[Outcome], bool], /) -> list[Outcome]:
        """Save members, and return them as they were saved; `is_final` returns False if another attempt follows."""


class ResultStore:
    """Stores outcomes as the options of their tasks and the settings say.

    Args:
        settings: of the cluster.
        list_key: key of the queue, the prefix of keys in the cache; None means that of the settings.
        members: saves the members of iters; None if there are none.
    """

    def __init__(
        self, settings: ClusterSettings, list_key: str | None = None, members: MemberStore | None = None
    ) -> None:
        self.database = DatabaseResults(settings)
        self.cache = CacheResults(settings, list_key)
        self.members = members

    def save_many(
        self, outcomes: Sequence[Outcome], is_final: Callable[[Outcome], bool] = lambda _: True
    ) -> list[Outcome]:
        """Save a batch. `is_unavailable` classifies the errors of all places.

        Args:
            outcomes: to save.
            is_final: returns False for a member of an iter if another attempt follows.

        Returns:
            The outcomes as they are saved, in order. One that cannot be stored is replaced by a failure.
        """
        places = [place_of(outcome) for outcome in outcomes]
        by_place: dict[Place, list[Outcome]] = {place: [] for place in Place}
        for place, outcome in zip(places, outcomes, strict=True):
            by_place[place].append(outcome)
        saved = {Place.DATABASE: iter(self.database.save_many(by_place[Place.DATABASE]))}
        if self.members is not None and (members := by_place[Place.BATCH]):
            saved[Place.BATCH] = iter(self.members.save_many(members, is_final))
        if cached := by_place[Place.CACHE]:
            saved[Place.CACHE] = iter(self.save_cached(cached))
        return [next(saved[place]) for place in places]

    def save_cached(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save a batch in the cache, and in the database each outcome that the cache rejects in any form."""
        saved = self.cache.save_many(outcomes)
        if rejected := [outcome for outcome in saved if not outcome.cached]:
            self.database.save_many(rejected)
        return saved


class Place(Enum):
    """Place in which an outcome is saved."""

    DATABASE = auto()
    BATCH = auto()
    CACHE = auto()


def place_of(outcome: Outcome) -> Place:
    """Return the place of an outcome: the database, the batch of its iter, or the cache."""
    if outcome.iter_count and is_member(outcome.iter_count, outcome.group):
        return Place.BATCH
    return Place.CACHE if outcome.cached else Place.DATABASE
