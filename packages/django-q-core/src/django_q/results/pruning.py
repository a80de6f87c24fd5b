"""The newest `save_limit` successes are kept, exactly; failures are never pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.db import connections
from django.db.models import F, Q, QuerySet, Window
from django.db.models.deletion import Collector
from django.db.models.functions import RowNumber

from django_q.models import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_q.outcome import Outcome
    from django_q.settings import ClusterSettings


def prune(saved: Iterable[Outcome], settings: ClusterSettings, using: str) -> int:
    """Delete the successes that are too many now.

    Args:
        saved: what was saved since it was last pruned: with `save_limit_per`, only what shares its group, name or
            function is looked at.
        settings: of the cluster.
        using: the database.

    Returns:
        How many were deleted.
    """
    successes = [outcome for outcome in saved if outcome.success]
    if settings.save_limit <= 0 or not successes:
        return 0
    if not (per := settings.save_limit_per):
        return keep_newest(settings.save_limit, using)
    kept = successes_in(using)
    return delete(
        kept, beyond_in_each(kept, per, {getattr(outcome, per) for outcome in successes}, settings.save_limit)
    )


def successes_in(using: str) -> QuerySet[Task]:
    """Give all successes, in no order."""
    # IN, because SQLite uses no index for a bare boolean.
    return Task._base_manager.using(using).filter(success__in=[True]).order_by()


def delete(kept: QuerySet[Task], surplus: Q | None) -> int:
    """Delete as Django does."""
    if surplus is None:
        return 0
    # Receivers of `post_delete`, if a project has any, need not unpickle what tasks were given and returned.
    return kept.filter(surplus).defer("args", "kwargs", "result").delete()[0]


def keep_newest(limit: int, using: str) -> int:
    """Delete all but the newest *limit* successes, with the index over `stopped` alone; give how many were deleted.

    By hand, because it is done after each batch: to write these statements takes Django longer than the database
    takes to run them, and the memory that its query machinery touches first would be the monitor's alone from then on.
    """
    if not Collector(using=using).can_fast_delete(cast("Any", Task)):
        return delete(kept := successes_in(using), beyond(kept, limit))
    name = connections[using].ops.quote_name
    table, success, stopped, pk = (name(each) for each in (Task._meta.db_table, "success", "stopped", "id"))
    successes = f"FROM {table} WHERE {success} IN (%s)"
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {stopped} {successes} ORDER BY {stopped} DESC LIMIT 2 OFFSET %s", [True, limit - 1])
        border = [moment for (moment,) in cursor.fetchall()]
        if len(border) < 2:
            return 0
        last_in, first_out = border
        surplus, values = f"{stopped} <= %s", [first_out]
        if last_in == first_out:
            # Several ended at the same moment, on both sides of the border: the id decides.
            cursor.execute(f"SELECT COUNT(*) {successes} AND {stopped} > %s", [True, first_out])
            (newer,) = cursor.fetchone()
            cursor.execute(
                f"SELECT {pk} {successes} AND {stopped} = %s ORDER BY {pk} DESC LIMIT 1 OFFSET %s",
                [True, first_out, max(limit - newer, 0)],
            )
            if not (twin := cursor.fetchone()):  # another cluster was faster
                return 0
            surplus, values = f"{surplus} AND ({stopped} < %s OR {pk} <= %s)", [first_out, first_out, *twin]
        cursor.execute(f"DELETE {successes} AND {surplus}", [True, *values])
        return cursor.rowcount


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
