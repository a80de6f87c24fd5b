"""Each outcome to the place where it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.results.cache import CacheResults
from django_q.results.database import DatabaseResults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.outcome import Outcome
    from django_q.settings import ClusterSettings


class ResultStore:
    """Saves outcomes as their tasks' options and the settings say.

    Args:
        settings: of the cluster.
        list_key: the queue's key, which begins the keys in the cache.
    """

    def __init__(self, settings: ClusterSettings, list_key: str | None = None) -> None:
        self.database = DatabaseResults(settings)
        self.cache = CacheResults(settings, list_key)

    def save_many(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save a batch; `is_unavailable` classifies the errors of both places.

        Returns:
            The outcomes as they are saved, in order: one that could not be stored is a failure now.
        """
        cached = [outcome for outcome in outcomes if outcome.cached]
        if not cached:
            return self.database.save_many(outcomes)
        saved = iter(self.database.save_many([outcome for outcome in outcomes if not outcome.cached]))
        self.cache.save_many(cached)
        return [outcome if outcome.cached else next(saved) for outcome in outcomes]
