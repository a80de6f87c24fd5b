"""Reads and writes records in raw SQL: Django's query compiler takes as long as the statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from django_q.databases.statements import execute_many, one_of, quoted
from django_q.models import Record, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANGED_FIELDS: Final = (
    "status",
    "started_at",
    "last_attempted_at",
    "finished_at",
    "lease_ends_at",
    "attempts",
    "result",
)
"""Fields that an update writes."""

UPDATE: Final = f"UPDATE {{table}} SET {', '.join(f'{{{name}}} = %s' for name in CHANGED_FIELDS)} WHERE {{id}} = %s"

HAS_NO_OTHER_ATTEMPT: Final = (
    f"({{status}} IN ('{Status.QUEUED.value}', '{Status.SCHEDULED.value}') AND {{started_at}} IS NULL "
    f"OR {{status}} = '{Status.RUNNING.value}' AND {{started_at}} = %s AND {{last_attempted_at}} = %s)"
)
"""Condition of a record without an attempt, or whose first and last start are those of a given attempt, which runs."""


def locked(ids: Sequence[str], using: str) -> list[Record]:
    """Lock records until the end of the transaction, and return them without their arguments.

    It is raw SQL: Django's query compiler takes as long as the query.

    Args:
        ids: ids of the records.
        using: alias of the database, in which a transaction is open.
    """
    connection = connections[using]
    names = ", ".join(f"{{{field.attname}}}" for field in Record._meta.concrete_fields if field.name != "arguments")
    lock = connection.ops.for_update_sql() if connection.features.has_select_for_update else ""
    query = f"SELECT {names} FROM {{table}} WHERE {one_of('id', ids).text} ORDER BY {{id}} {lock}"
    return [*Record._base_manager.using(using).raw(quoted(query, Record, using), ids)]


def update_rows(records: Sequence[Record], using: str) -> None:
    """Write the changed fields of records. With `bulk_update`, a third as many tasks were settled.

    Args:
        records: the records, with all attempts.
        using: alias of the database.
    """
    execute_many(Record, using, UPDATE, [values_of(record, using) for record in records])


def end_unread(records: Sequence[Record], using: str) -> bool:
    """End records that were not read, if nothing but the start of their only attempt was written to them.

    Args:
        records: the records as they will be, in the order of their ids.
        using: alias of the database, in which a transaction is open.

    Returns:
        False if at least one record is missing or in another state: then each has to be read.
    """
    at = CHANGED_FIELDS.index("started_at")
    rows = [[*values, values[at], values[at]] for values in (values_of(record, using) for record in records)]
    return execute_many(Record, using, f"{UPDATE} AND {HAS_NO_OTHER_ATTEMPT}", rows) == len(rows)


def values_of(record: Record, using: str) -> list[Any]:
    """Return the values of `UPDATE` for a record."""
    fields: list[Any] = [Record._meta.get_field(name) for name in CHANGED_FIELDS]
    prepared = [field.get_db_prep_save(getattr(record, field.attname), connections[using]) for field in fields]
    return [*prepared, record.pk]
