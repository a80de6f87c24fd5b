"""Ends the records of tasks that succeeded in their first attempt, without reading them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from django_q.clock import in_project_time
from django_q.databases.limits import SHORT_STATEMENT
from django_q.models import Record, Status
from django_q.records.attempts import ended, entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.wire.outcome import Outcome

FIELDS: Final = ("started_at", "last_attempted_at", "finished_at", "attempts", "result")
"""Fields that the statement writes, beside the status and the lease."""


def is_first_success(outcome: Outcome) -> bool:
    """Return True if an outcome is the success of a first attempt, and short enough for any database."""
    attempted = outcome.attempted
    return (
        attempted is not None
        and attempted.started is not None
        and outcome.success
        and outcome.attempt == 1
        and len(attempted.json or outcome.result or "") <= SHORT_STATEMENT
    )


def end_records(outcomes: Sequence[Outcome], using: str) -> bool:
    """End records of first attempts, if nothing but the start of that attempt was written to them.

    Args:
        outcomes: outcomes for which `is_first_success` is true, in the order of their ids.
        using: alias of the database, in which a transaction is open.

    Returns:
        False if at least one record is missing or in another state: then each has to be read.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.executemany(statement(using, connection.vendor), [values_of(outcome, using) for outcome in outcomes])
        return bool(cursor.rowcount == len(outcomes))


def values_of(outcome: Outcome, using: str) -> list[Any]:
    """Return the values of the statement for an outcome."""
    attempted = outcome.attempted
    assert attempted is not None
    assert attempted.started is not None
    began, stopped = in_project_time(attempted.started), in_project_time(outcome.stopped)
    attempt = ended(entry(1, attempted.worker, began), stopped, duration=outcome.duration)
    values = (began, began, stopped, [attempt], attempted.json or outcome.result)
    pairs = zip(written_fields(), values, strict=True)
    prepared = [field.get_db_prep_save(value, connections[using]) for field, value in pairs]
    return [*prepared, outcome.id, prepared[0], prepared[0]]


@lru_cache(maxsize=1)
def written_fields() -> list[Any]:
    """Return `FIELDS` of the model."""
    return [Record._meta.get_field(name) for name in FIELDS]


@lru_cache(maxsize=64)
def statement(using: str, vendor: str) -> str:
    """Return the SQL that ends a record. Its values are those of `values_of`.

    A running record whose first and last start are those of this attempt has no other attempt.

    Args:
        using: alias of the database.
        vendor: of the database.
    """
    quote = connections[using].ops.quote_name
    columns = ", ".join(f"{quote(str(field.column))} = %s" for field in written_fields())
    return (
        f"UPDATE {quote(Record._meta.db_table)} SET {columns}, {quote('status')} = '{Status.SUCCEEDED.value}', "
        f"{quote('lease_ends_at')} = NULL WHERE {quote('id')} = %s AND ("
        f"{quote('status')} IN ('{Status.QUEUED.value}', '{Status.SCHEDULED.value}') "
        f"AND {quote('started_at')} IS NULL OR {quote('status')} = '{Status.RUNNING.value}' "
        f"AND {quote('started_at')} = %s AND {quote('last_attempted_at')} = %s)"
    )
