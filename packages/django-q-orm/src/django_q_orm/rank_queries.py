"""Queries of Django's ORM that lock due rows by priority, for databases without our own statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import IntegerField
from django.db.models.expressions import RawSQL

from django_q_orm.rank_sql import has_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

    from django_q_orm.due_times import DueTimes
    from django_q_orm.models import OrmQ


def locked_by_priority(
    queue: QuerySet[OrmQ], key: str, due_times: DueTimes, limit: int, *, fair: bool
) -> list[tuple[Any, ...]]:
    """Lock due rows, and return id, package and lease of each, in the order of delivery.

    If a queue uses no priorities, this is one query.

    Args:
        queue: rows of the queue.
        key: name of the queue.
        due_times: condition and order of due rows.
        limit: maximum number of rows.
        fair: True to begin with the oldest row of a lower priority than the greatest one.
    """
    due = queue.filter(due_times.is_due())
    uses_ranks = RawSQL(*has_ranks(due_times.connection, queue.model._meta.db_table, key), IntegerField())
    rows = _locked(due.annotate(uses_ranks=uses_ranks), due_times, limit, "uses_ranks")
    if not rows or not rows[0][-1]:
        return [row[:-1] for row in rows]
    ranks = list(_ranks(queue))
    found = _oldest_of_lower_priority(due, due_times, ranks) if fair else []
    first = [row[0] for row in found]
    for rank in ranks:
        if len(found) < limit:
            found += _locked(due.filter(rank=rank).exclude(id__in=first), due_times, limit - len(found))
    return found


def _ranks(queue: QuerySet[OrmQ]) -> Iterator[int]:
    """Yield the ranks of a queue, in order. Each query probes the index once."""
    rank = queue.order_by("rank").values_list("rank", flat=True).first()
    while rank is not None:
        yield rank
        rank = queue.filter(rank__gt=rank).order_by("rank").values_list("rank", flat=True).first()


def _oldest_of_lower_priority(due: QuerySet[OrmQ], due_times: DueTimes, ranks: list[int]) -> list[tuple[Any, ...]]:
    """Lock the oldest row with a higher rank than the first one that has a due row, and return it, if there is one."""
    for rank in ranks:
        if due.filter(rank=rank).exists():
            lower = due.filter(rank__gt=rank).order_by(due_times.order, "id")
            # A query that sorts would lock all rows that it reads.
            return _locked(due.filter(id__in=list(lower.values_list("id", flat=True)[:1])), due_times, 1)
    return []


def _locked(due: QuerySet[OrmQ], due_times: DueTimes, limit: int, *more: str) -> list[tuple[Any, ...]]:
    """Lock up to *limit* rows that no other session has locked, the longest due first, if the database can."""
    features, columns = due_times.connection.features, ("id", "payload", "lease", *more)
    first = due.order_by(due_times.order, "id")
    if features.has_select_for_update_skip_locked and features.supports_select_for_update_with_limit:
        first = first.select_for_update(skip_locked=True)
    seen = first.values_list(*columns)[:limit]
    if features.has_select_for_update_skip_locked and not features.supports_select_for_update_with_limit:
        ids = [row[0] for row in seen]  # Oracle
        seen = due.filter(id__in=ids).select_for_update(skip_locked=True).values_list(*columns)
    return list(seen)
