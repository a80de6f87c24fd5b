"""The newest `save_limit` successes are kept; failures are never pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from django.db import connections
from django.db.models import F, Q, QuerySet, Window
from django.db.models.deletion import Collector
from django.db.models.functions import RowNumber

from django_q.clock import Seldom
from django_q.models import Task

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from django_q.outcome import Outcome
    from django_q.settings import ClusterSettings


PORTION: Final = 1_000
"""Successes deleted at once at the most, unless more were saved at once."""


class Pruner:
    """Deletes the successes that are too many.

    Where there are far too many, because the limit was lowered or another edition left them, the first batch deletes a
    `PORTION`, each after it one more than it saved, and the rest goes while nothing waits to be saved: to delete a
    million rows takes a database seconds, in which no result would be saved, and each old one lies on pages of its own.

    PostgreSQL keeps deleted rows while any transaction is open that began before
    (https://www.postgresql.org/docs/current/routine-vacuuming.html), and a look at all successes passes them each time.
    So where that takes long, most batches delete only what has become too much since the batch before.

    Args:
        settings: of the cluster.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.more = False
        """Are there more to delete?"""
        self.counted = False
        """Has a look found that there are not?"""
        self._all = Seldom()
        self._border: Any = None
        """When the newest ended of those that have been deleted, if all that ended before have been, too."""

    def prune(self, saved: Iterable[Outcome], using: str) -> None:
        """Delete the successes that are too many now; of far too many, one more than were saved.

        Args:
            saved: what was saved since it was last pruned: with `save_limit_per`, only what shares its group, name or
                function is looked at, and all of that which is too many is deleted.
            using: the database.
        """
        limit, per = self.settings.save_limit, self.settings.save_limit_per
        successes = [outcome for outcome in saved if outcome.success]
        if limit <= 0 or not successes:
            return
        if per:
            kept = successes_in(using)
            delete(kept, beyond_in_each(kept, per, {getattr(outcome, per) for outcome in successes}, limit))
        else:
            self._prune(using, len(successes) + 1, min(outcome.stopped for outcome in successes))

    def prune_more(self, using: str) -> None:
        """Delete another portion."""
        self._prune(using, PORTION)

    def _prune(self, using: str, at_most: int, oldest: datetime | None = None) -> None:
        if not self.more:  # as far as anybody knows
            at_most = max(at_most, PORTION)
        limit = self.settings.save_limit
        border, self._border = self._border, None
        if border is None or oldest is None or self._all.due:
            with self._all.timed():
                self.more, border = keep_newest(limit, using, None if self.counted else at_most)
        else:
            self.more, border = keep_newest(limit, using, since=min(border, oldest))
        self.counted = not self.more
        if self.counted and connections[using].vendor == "postgresql":
            self._border = border


class Pruned(NamedTuple):
    """What was left."""

    more: bool
    """Are there more to delete?"""
    border: Any
    """When the newest ended that was too much; None: nothing was."""


def successes_in(using: str) -> QuerySet[Task]:
    """Give all successes, in no order."""
    # IN, because SQLite uses no index for a bare boolean.
    return Task._base_manager.using(using).filter(success__in=[True]).order_by()


def delete(kept: QuerySet[Task], surplus: Q | None) -> None:
    """Delete as Django does."""
    if surplus is not None:
        # Receivers of `post_delete`, if a project has any, need not unpickle what tasks were given and returned.
        kept.filter(surplus).defer("args", "kwargs", "result").delete()


def keep_newest(limit: int, using: str, at_most: int | None = None, since: Any = None) -> Pruned:
    """Delete all but the newest *limit* successes, with the index over `stopped` alone.

    By hand, because it is done after each batch: to write these statements takes Django longer than the database
    takes to run them, and the memory that its query machinery touches first would be the monitor's alone from then on.

    Args:
        limit: how many stay.
        using: the database.
        at_most: of more, only so many are deleted, those that ended last; None deletes all.
        since: nothing that ended before this moment, a border of before, is looked at; None: all is.
    """
    if not Collector(using=using).can_fast_delete(cast("Any", Task)):
        return Pruned(keep_newest_and_tell(limit, using, at_most), None)
    name = connections[using].ops.quote_name
    table, success, stopped, pk = (name(each) for each in (Task._meta.db_table, "success", "stopped", "id"))
    successes, known = f"FROM {table} WHERE {success} IN (%s)", [True]
    if since is not None:
        successes, known = f"{successes} AND {stopped} >= %s", [True, since]
    with connections[using].cursor() as cursor:

        def moments(place: int, count: int = 1) -> list[Any]:
            newest_first = f"SELECT {stopped} {successes} ORDER BY {stopped} DESC LIMIT %s OFFSET %s"
            cursor.execute(newest_first, [*known, count, place])
            return [moment for (moment,) in cursor.fetchall()]

        border = moments(limit - 1, 2)
        if len(border) < 2:
            return Pruned(more=False, border=None)
        last_in, first_out = border
        surplus, values = f"{stopped} <= %s", [first_out]
        if last_in == first_out:
            # Several ended at the same moment, on both sides of the border: the id decides.
            cursor.execute(f"SELECT COUNT(*) {successes} AND {stopped} > %s", [*known, first_out])
            (newer,) = cursor.fetchone()
            cursor.execute(
                f"SELECT {pk} {successes} AND {stopped} = %s ORDER BY {pk} DESC LIMIT 1 OFFSET %s",
                [*known, first_out, max(limit - newer, 0)],
            )
            if not (twin := cursor.fetchone()):  # another cluster was faster
                return Pruned(more=False, border=None)
            surplus, values = f"{surplus} AND ({stopped} < %s OR {pk} <= %s)", [first_out, first_out, *twin]
        later = [] if at_most is None else moments(limit + at_most)
        if more := bool(later and later[0] < first_out):
            surplus, values = f"{surplus} AND {stopped} > %s", [*values, *later]
        cursor.execute(f"DELETE {successes} AND {surplus}", [*known, *values])
        return Pruned(more, first_out)


def keep_newest_and_tell(limit: int, using: str, at_most: int | None) -> bool:
    """Do the same where a project wants to hear of each success that is deleted."""
    kept = successes_in(using)
    moments = kept.order_by("-stopped").values_list("stopped", flat=True)
    if (surplus := beyond(kept, limit)) is None:
        return False
    later = [] if at_most is None else moments[limit + at_most :][:1]
    if more := bool(later and later[0] < moments[limit]):
        kept = kept.filter(stopped__gt=later[0])
    delete(kept, surplus)
    return more


def beyond(kept: QuerySet[Task], limit: int) -> Q | None:
    """Find what is older than the newest *limit*, whatever another cluster deletes meanwhile."""
    border = list(kept.order_by("-stopped").values_list("stopped", flat=True)[limit - 1 : limit + 1])
    if len(border) < 2:
        return None
    last_in, first_out = border
    if last_in > first_out:
        return Q(stopped__lte=first_out)
    # Several ended at the same moment, on both sides of the border: the id decides.
    newer = kept.filter(stopped__gt=first_out).count()
    twins = kept.filter(stopped=first_out).order_by("-pk").values_list("pk", flat=True)
    return older_than(first_out, twins[max(limit - newer, 0)])


def beyond_in_each(kept: QuerySet[Task], per: str, values: set[str | None], limit: int) -> Q | None:
    """Find what is older than the newest *limit* of each group, name or function."""
    among = Q(**{f"{per}__in": values - {None}})
    if None in values:
        among |= Q(**{f"{per}__isnull": True})
    place = Window(RowNumber(), partition_by=[F(per)], order_by=[F("stopped").desc(), F("pk").desc()])
    first_out = kept.filter(among).annotate(place=place).filter(place=limit + 1).values_list(per, "stopped", "pk")
    surplus = Q()
    for value, stopped, pk in first_out:
        mine = Q(**{f"{per}__isnull": True}) if value is None else Q(**{per: value})
        surplus |= mine & older_than(stopped, pk)
    return surplus or None


def older_than(stopped: object, pk: str) -> Q:
    """Select that row and everything after it, newest first."""
    return Q(stopped__lt=stopped) | Q(stopped=stopped, pk__lte=pk)
