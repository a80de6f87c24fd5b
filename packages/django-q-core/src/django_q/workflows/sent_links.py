"""Remembers sent links of chains, so that a redelivered link does not send its successor twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import router

from django_q.caches.calls import CALLS
from django_q.log import messages as log
from django_q.models import Task
from django_q.results.database import existing
from django_q.wire.ids import next_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.results.cache import CacheResults
    from django_q.wire.outcome import Outcome

SENT_SECONDS: Final = 24 * 3600
"""Time to live of the mark that a link was sent."""


class SentLinks:
    """Registry of sent links, in the cache. Without a cache, the rows of finished links identify them.

    A link is sent before it is marked. If the monitor is killed in between, the link is sent twice, and not lost.

    Args:
        cache: contains the marks. Its errors are ignored.
    """

    def __init__(self, cache: CacheResults) -> None:
        self.cache = cache
        self._partly: set[str] = set()
        """Ids of links that a partly failed call has sent. This process repeats the call."""

    def unsent(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes whose next link has not been sent."""
        known = self._partly | self._known([next_id(outcome.id) for outcome in outcomes])
        return [outcome for outcome in outcomes if next_id(outcome.id) not in known]

    def sent(self, outcomes: Sequence[Outcome]) -> None:
        """Mark the next links of outcomes as sent."""
        marks = {self._key(next_id(outcome.id)): 1 for outcome in outcomes}
        try:
            CALLS.make(lambda: self.cache.cache.set_many(marks, SENT_SECONDS))
        except Exception as error:  # noqa: BLE001 - each product has its own errors; a mark is only a hint
            log.cache.links_not_marked(error)

    def sent_partly(self, outcomes: Sequence[Outcome]) -> None:
        """Mark the next links of outcomes as sent, also in this process, because the call failed for others."""
        if outcomes:
            self._partly |= {next_id(outcome.id) for outcome in outcomes}
            self.sent(outcomes)

    def followed(self, outcomes: Sequence[Outcome]) -> None:
        """Delete the marks in this process: the next links of all these outcomes are sent."""
        self._partly -= {next_id(outcome.id) for outcome in outcomes}

    def _known(self, ids: Sequence[str]) -> set[str]:
        known = existing(ids, router.db_for_write(Task))
        keys = {key: task_id for task_id in ids for key in (self._key(task_id), self.cache.key(task_id))}
        try:
            found = CALLS.make(lambda: self.cache.cache.get_many(list(keys))) or {}
        except Exception as error:  # noqa: BLE001 - as above
            log.cache.links_not_read(error)
            return known
        return known | {keys[key] for key in found}

    def _key(self, task_id: str) -> str:
        return self.cache.key(f"{task_id}:sent")
