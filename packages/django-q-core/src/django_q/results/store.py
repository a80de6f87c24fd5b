"""Each outcome to the place where it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    def save_many(self, outcomes: Sequence[Outcome]) -> dict[str, int]:
        """Save a batch.

        Returns:
            How often each task that failed has been tried, by its id.
        """
        return self.database.save_many(outcomes)
