"""Which links of chains have been sent, so that none is sent twice when the one before it comes again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import router

from django_q.caches.calls import CALLS
from django_q.log import logger
from django_q.models import Task
from django_q.results.database import existing
from django_q.wire.ids import next_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.results.cache import CacheResults
    from django_q.wire.outcome import Outcome

REMEMBERED: Final = 24 * 3600
"""Seconds for which it is known of a link that it was sent."""


class SentLinks:
    """Remembers in the cache what was sent; without a cache, finished links are still known by their rows.

    A link is sent before it is remembered: a monitor that is killed in between sends it again, rather than never.

    Args:
        cache: where it is remembered, as well as it can be.
    """

    def __init__(self, cache: CacheResults) -> None:
        self.cache = cache
        self._partly: set[str] = set()
        """Ids of links that were sent by a call that failed for others; it will be repeated by this process."""

    def unsent(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Leave out the outcomes whose next link has been sent before."""
        known = self._partly | self._known([next_id(outcome.id) for outcome in outcomes])
        return [outcome for outcome in outcomes if next_id(outcome.id) not in known]

    def sent(self, outcomes: Sequence[Outcome]) -> None:
        """Remember that their next links were sent."""
        marks = {self._key(next_id(outcome.id)): 1 for outcome in outcomes}
        try:
            CALLS.make(lambda: self.cache.cache.set_many(marks, REMEMBERED))
        except Exception as error:  # noqa: BLE001 - each product has its own; it is a hint only
            logger.debug("Links of chains cannot be remembered: %s", error)

    def sent_partly(self, outcomes: Sequence[Outcome]) -> None:
        """Remember, without a cache too, that the next links of these were sent and those of others were not."""
        if outcomes:
            self._partly |= {next_id(outcome.id) for outcome in outcomes}
            self.sent(outcomes)

    def followed(self, outcomes: Sequence[Outcome]) -> None:
        """Forget what was kept until all of these have been followed."""
        self._partly -= {next_id(outcome.id) for outcome in outcomes}

    def _known(self, ids: Sequence[str]) -> set[str]:
        known = existing(ids, router.db_for_write(Task))
        keys = {key: task_id for task_id in ids for key in (self._key(task_id), self.cache.key(task_id))}
        try:
            found = CALLS.make(lambda: self.cache.cache.get_many(list(keys))) or {}
        except Exception as error:  # noqa: BLE001 - as above
            logger.debug("Links of chains cannot be remembered: %s", error)
            return known
        return known | {keys[key] for key in found}

    def _key(self, task_id: str) -> str:
        return self.cache.key(f"{task_id}:sent")
