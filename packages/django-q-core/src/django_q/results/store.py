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

    def save_many(self, outcomes: Sequence[Outcome]) -> dict[str, int]:
        """Save a batch; what `is_unavailable` says of its errors, holds for both places.

        Returns:
            How often each task that failed has been tried, by its id.
        """
        cached = [outcome for outcome in outcomes if outcome.cached]
        attempts = self.database.save_many([outcome for outcome in outcomes if not outcome.cached])
        return attempts | self.cache.save_many(cached) if cached else attempts
