"""Rows come in, and ring."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import OperationalError
from django.db.models.expressions import RawSQL

from django_q_orm.database_clock import VENDORS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from django_q_orm.models import OrmQ


T = TypeVar("T")

PATIENCE = 20.0
"""Seconds for which a sender waits for SQLite's one writer at a time, beyond Django's own time-out."""

JUST_SECONDS = 0.1
"""How old the rows are at the most behind which a row is silent."""


def insert(
    table: QuerySet[OrmQ],
    connection: BaseDatabaseWrapper,
    row: Mapping[str, Any],
) -> int:
    """Add a row, in one statement, where possible without the cost of a model's `save`."""
    if connection.vendor not in VENDORS:
        return int(table.create(**{"due": 0, **row}).pk)
    returning = " RETURNING id" if connection.features.can_return_columns_from_insert else ""
    statement, params = _insert_into(table, connection, row)
    with connection.cursor() as cursor:
        cursor.execute(f"{statement}{returning}", params)
        return int(cursor.fetchone()[0] if returning else cursor.lastrowid)


def insert_and_ring(
    table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, channel: str, key: str, payload: str, lock: RawSQL
) -> int:
    """Add a row and notify who listens, in one statement of PostgreSQL.

    PostgreSQL commits transactions that notify one after another. So a row that finds others waiting is silent: who
    takes those will look again. Within a transaction it always rings: nobody knows when that commits. It looks for rows
    that have just been sent: there may be very many older ones that are gone and can still be seen by others.
    """
    name = connection.ops.quote_name(table.model._meta.db_table)
    just = f"lock > {lock.sql} - interval '{JUST_SECONDS} seconds' AND lock <= {lock.sql}"
    silent = f"NOT %s AND EXISTS (SELECT 1 FROM {name} WHERE key = %s AND {just})"
    statement, params = _insert_into(table, connection, {"key": key, "payload": payload, "lock": lock})
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH added AS ({statement} RETURNING id) "
            f"SELECT id, CASE WHEN {silent} THEN NULL ELSE pg_notify(%s, '')::text END FROM added",
            [*params, connection.in_atomic_block, key, *lock.params, *lock.params, channel],
        )
        (number, _rang) = cursor.fetchone()
    return int(number)


def patiently(connection: BaseDatabaseWrapper, write: Callable[[], T]) -> T:
    """Write again while SQLite is locked by others; within a transaction only its owner can begin again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return write()
        except OperationalError as error:
            mine = connection.vendor == "sqlite" and not connection.in_atomic_block and "is locked" in str(error)
            if not mine or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _insert_into(
    table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, row: Mapping[str, Any]
) -> tuple[str, list[Any]]:
    """Return the statement and its parameters; a row without `due` leaves that to the database, as old producers do."""
    name, *columns = map(connection.ops.quote_name, (table.model._meta.db_table, *row))
    values = [value if isinstance(value, RawSQL) else RawSQL("%s", [value]) for value in row.values()]
    statement = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join(value.sql for value in values)})"
    return statement, [param for value in values for param in value.params]
