"""Deletes the successes beyond `save_limit`; failures are never deleted."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from django.db import IntegrityError, connections, router, transaction
from django.db.models import F, Q, QuerySet, Window
from django.db.models.deletion import Collector
from django.db.models.functions import RowNumber

from django_q import clock
from django_q.databases import statements
from django_q.databases.sqlite import has_one_writer, release_pages
from django_q.databases.statements import Condition, chunks, one_of, select
from django_q.models import Task
from django_q.pacing import Throttle
from django_q.results.refusals import delete_one, refusals_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from django_q.settings import ClusterSettings

MAX_ROWS: Final = 20_000
"""Maximum number of rows that one step deletes. A large surplus needs several steps, between which others write."""

MAX_SECONDS: Final = 0.5
"""Duration after which a step that deletes row by row, or a few rows at a time, leaves the rest to the next one."""

SLOW_ROWS: Final = 250
"""Maximum number of rows that a statement deletes on SQLite, where all other writers wait for its end."""

MAX_SAVE_DELAY: Final = timedelta(minutes=1)
"""Maximum time from the end of a task to its saving, for `save_limit_per`. Full scans find tasks saved later."""

ALL_SUCCESSES: Final = Condition("{success} IN (%s)", [True])
"""Selects all successes. IN, because SQLite uses no index for a bare boolean."""

OLDEST_FIRST: Final = "{stopped}, {id}"
"""Order in which successes are deleted."""


class Pruner:
    """Keeps the newest `save_limit` successes: of all, or of each group, name or function with `save_limit_per`.

    Successes that ended at the same moment are ordered by their id.

    Args:
        settings: of the cluster.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self._full_scan = Throttle()
        self._since: datetime | None = None
        """Labels without a success since this moment have no surplus; None: any label may have one."""

    def prune(self, labels: Collection[str | None] | None = None) -> bool:
        """Delete the surplus, or the oldest part of it if it is large.

        Args:
            labels: with `save_limit_per`, the groups, names or functions to check; None finds them.

        Returns:
            True if there may be more to delete.

        Raises:
            django.db.DatabaseError: the database is unavailable.
        """
        limit, per = self.settings.save_limit, self.settings.save_limit_per
        if limit <= 0:
            return False
        using = router.db_for_write(Task)
        if per is None:
            surplus, more = oldest_beyond(limit, using)
            parts = iter([] if surplus is None else [surplus])
        else:
            found, more = self._beyond_in_each(limit, per, using, labels)
            parts = (one_of("id", chunk) for chunk in chunks(found))
        until = clock.monotonic() + MAX_SECONDS
        for part in parts:
            more |= delete(part, using, until)
        return more

    def _beyond_in_each(
        self, limit: int, per: str, using: str, labels: Collection[str | None] | None
    ) -> tuple[list[str], bool]:
        if labels is not None:
            return beyond_in_each(limit, per, using, with_labels(per, labels))
        since, self._since = self._since, clock.now() - MAX_SAVE_DELAY
        if since is None or self._full_scan.due:
            with self._full_scan.timed():
                found, more = beyond_in_each(limit, per, using)
        else:
            recent = successes_in(using).filter(stopped__gte=since).values(per)
            found, more = beyond_in_each(limit, per, using, Q(**{f"{per}__in": recent}) | Q(**{f"{per}__isnull": True}))
        if more:
            self._since = None
        return found, more


def successes_in(using: str) -> QuerySet[Task]:
    """Return all successes, unordered."""
    return Task._base_manager.using(using).filter(success__in=[True]).order_by()


def oldest_beyond(limit: int, using: str) -> tuple[Condition | None, bool]:
    """Find at most `MAX_ROWS` successes that are older than the newest *limit*.

    Returns:
        A condition that selects the oldest of them, or None if there are none; and True if there are more. On SQLite
        the condition selects all, because `delete_slowly` limits its own time.
    """
    newest_first = "{stopped} DESC, {id} DESC"
    border = select(Task, using, "{stopped}, {id}", ALL_SUCCESSES, newest_first, slice(limit, limit + 1))
    if not border:
        return None, False
    surplus = up_to(*border[0])
    if has_one_writer(connections[using]):
        return surplus, False
    last = select(Task, using, "{stopped}, {id}", surplus, OLDEST_FIRST, slice(MAX_ROWS - 1, MAX_ROWS))
    return (up_to(*last[0]), True) if last else (surplus, False)


def up_to(stopped: object, pk: str) -> Condition:
    """Select the success with this end and id, and all older ones."""
    older = Condition("{stopped} <= %s AND ({stopped} < %s OR {id} <= %s)", [stopped, stopped, pk])
    return ALL_SUCCESSES & older


def beyond_in_each(limit: int, per: str, using: str, some: Q | None = None) -> tuple[list[str], bool]:
    """Find at most `MAX_ROWS` successes that are older than the newest *limit* of their group, name or function.

    Args:
        limit: number of successes of each label that stay.
        per: name of the label's column.
        using: the database.
        some: selects the labels to check; None means all.

    Returns:
        Their ids, and True if there may be more.
    """
    successes = successes_in(using) if some is None else successes_in(using).filter(some)
    place = Window(RowNumber(), partition_by=[F(per)], order_by=[F("stopped").desc(), F("pk").desc()])
    surplus = successes.annotate(place=place).filter(place__gt=limit).values_list("pk", flat=True)
    found = list(surplus[:MAX_ROWS])
    return found, len(found) == MAX_ROWS


def with_labels(per: str, labels: Collection[str | None]) -> Q:
    """Select the successes with one of these labels; None is the label of those without one."""
    named = Q(**{f"{per}__in": [label for label in labels if label is not None]})
    return named | Q(**{f"{per}__isnull": True}) if None in labels else named


def delete(surplus: Condition, using: str, until: float) -> bool:
    """Delete successes: with one statement, or one by one if there are receivers or foreign keys.

    Args:
        surplus: selects the successes.
        using: the database.
        until: when to stop deleting one by one (`clock.monotonic`, seconds).

    Returns:
        True if time was up.
    """
    if Collector(using=using).can_fast_delete(cast("Any", Task)):
        try:
            if has_one_writer(connections[using]):
                return delete_slowly(surplus, using, until)
            with transaction.atomic(using=using, savepoint=connections[using].in_atomic_block):
                statements.delete(Task, using, surplus)
        except IntegrityError:
            pass  # a foreign key that Django does not know, or has to ignore
        else:
            return False
    return delete_each(surplus, using, until)


def delete_slowly(surplus: Condition, using: str, until: float) -> bool:
    """Delete successes a few at a time, with pauses in which others write; return True if time was up."""
    while ids := ids_of(surplus, using, slice(SLOW_ROWS)):
        began = clock.monotonic()
        if began >= until:
            return True
        statements.delete(Task, using, one_of("id", ids))
        release_pages(connections[using])
        if len(ids) < SLOW_ROWS:
            break
        time.sleep(clock.monotonic() - began)
    return False


def ids_of(surplus: Condition, using: str, part: slice | None = None) -> list[str]:
    """Return the ids of successes, the oldest first."""
    return [pk for (pk,) in select(Task, using, "{id}", surplus, OLDEST_FIRST, part)]


def delete_each(surplus: Condition, using: str, until: float) -> bool:
    """Delete successes one by one, and skip those that cannot be deleted.

    Returns:
        True if time was up.
    """
    refusals = refusals_of(using)
    for chunk in chunks([pk for pk in ids_of(surplus, using) if not refusals.has(pk)]):
        tasks = Task._base_manager.using(using).filter(pk__in=chunk).order_by("stopped", "pk")
        # Receivers of `post_delete` need not unpickle the arguments and the result.
        for task in tasks.defer("args", "kwargs", "result"):
            if clock.monotonic() >= until:
                return True
            delete_one(task, using, refusals)
    return False
