"""Rows come in, and ring."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from django.db import OperationalError

from django_q_orm.moments import VENDORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet
    from django.db.models.expressions import RawSQL

    from django_q_orm.models import OrmQ


T = TypeVar("T")

PATIENCE = 20.0
"""Seconds for which a sender waits for SQLite's one writer at a time, beyond Django's own time-out."""

JUST_SECONDS = 0.1
"""How old the rows are at the most behind which a row is silent."""


def insert(
    table: QuerySet[OrmQ],
    connection: BaseDatabaseWrapper,
    key: str,
    payload: str,
    lock: RawSQL,
    lease: str | None = None,
) -> int:
    """Add a row, in one statement, where possible without the cost of a model's `save`."""
    if connection.vendor not in VENDORS:
        row = {"key": key, "payload": payload, "lock": lock} | ({} if lease is None else {"lease": lease})
        return int(table.create(**row).pk)
    returning = " RETURNING id" if connection.features.can_return_columns_from_insert else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_insert_into(table, connection, lock, lease)}{returning}",
            [key, payload, *lock.params, *([] if lease is None else [lease])],
        )
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
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH added AS ({_insert_into(table, connection, lock)} RETURNING id) "
            f"SELECT id, CASE WHEN {silent} THEN NULL ELSE pg_notify(%s, '')::text END FROM added",
            [key, payload, *lock.params, connection.in_atomic_block, key, *lock.params, *lock.params, channel],
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


def _insert_into(table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, lock: RawSQL, lease: str | None = None) -> str:
    names = (table.model._meta.db_table, "key", "payload", "lock", *([] if lease is None else ["lease"]))
    name, *columns = map(connection.ops.quote_name, names)
    return f"INSERT INTO {name} ({', '.join(columns)}) VALUES (%s, %s, {lock.sql}{'' if lease is None else ', %s'})"
