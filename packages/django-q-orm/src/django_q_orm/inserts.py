"""Inserts queue rows and notifies consumers."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import OperationalError, transaction
from django.db.models.expressions import RawSQL

from django_q_orm.database_clock import VENDORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django_q.databases.statements import Statement

    from django_q_orm.models import OrmQ


T = TypeVar("T")

WRITE_LOCK_TIMEOUT_SECONDS = 20.0
"""Time for which a sender waits for SQLite's write lock, in addition to Django's own timeout."""

RECENT_SECONDS = 0.1
"""Skip the notification if a row younger than this is already queued."""


def insert(
    model: type[OrmQ], connection: BaseDatabaseWrapper, row: Mapping[str, Any], beside: Statement | None = None
) -> int:
    """Insert a row and return its id, if possible without the cost of a model's `save`.

    Args:
        model: of the row.
        connection: to the database.
        row: its columns.
        beside: statement of the same transaction; None for none.
    """
    if beside is not None:
        with short_transaction(connection):
            beside.execute(connection)
            return insert(model, connection, row)
    if connection.vendor not in VENDORS:
        return int(model._default_manager.using(connection.alias).create(**{"due": 0, "rank": 0, **row}).pk)
    returning = " RETURNING id" if connection.features.can_return_columns_from_insert else ""
    statement, params = _insert_into(model, connection, row)
    with connection.cursor() as cursor:
        cursor.execute(f"{statement}{returning}", params)
        return int(cursor.fetchone()[0] if returning else cursor.lastrowid)


@contextmanager
def short_transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Make statements one transaction, or a part of the current one.

    On SQLite, `atomic` takes a quarter of the time to send a task: it changes the state of the connection and back.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block or not connection.get_autocommit():
        with transaction.atomic(using=connection.alias):
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            yield
            cursor.execute("COMMIT")
        except BaseException:
            if connection.connection.in_transaction:  # some errors end it
                cursor.execute("ROLLBACK")
            raise


def insert_and_notify(
    model: type[OrmQ],
    connection: BaseDatabaseWrapper,
    channel: str,
    row: Mapping[str, Any],
    beside: Statement | None = None,
) -> int:
    """Insert a row and notify listeners, in one statement of PostgreSQL, and return the id.

    PostgreSQL commits transactions with notifications one after another. So a row does not notify if others wait: the
    consumer of those polls again. In a transaction it always notifies, because the time of the commit is unknown. Only
    recent rows are checked, because there may be many deleted older ones that open transactions still see.

    Args:
        model: of the row.
        connection: to the database.
        channel: on which listeners wait.
        row: columns of the row.
        beside: an INSERT that is part of the statement; None for none.
    """
    name, key, lock = connection.ops.quote_name(model._meta.db_table), row["key"], row["lock"]
    recent = f"lock > {lock.sql} - interval '{RECENT_SECONDS} seconds' AND lock <= {lock.sql}"
    # A minimum is read from the index of these columns; for EXISTS, PostgreSQL may use another index, or none.
    silent = f"NOT %s AND (SELECT MIN(lock) FROM {name} WHERE key = %s AND {recent}) IS NOT NULL"
    statement, params = _insert_into(model, connection, row)
    first, values = (f"beside AS ({beside.sql}), ", beside.values) if beside else ("", [])
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH {first}added AS ({statement} RETURNING id) "
            f"SELECT id, CASE WHEN {silent} THEN NULL ELSE pg_notify(%s, '')::text END FROM added",
            [*values, *params, connection.in_atomic_block, key, *lock.params, *lock.params, channel],
        )
        (number, _notified) = cursor.fetchone()
    return int(number)


def retry_while_locked(connection: BaseDatabaseWrapper, write: Callable[[], T]) -> T:
    """Repeat a write while others lock SQLite, unless a transaction is open, which only its owner can repeat."""
    deadline = time.monotonic() + WRITE_LOCK_TIMEOUT_SECONDS
    while True:
        try:
            return write()
        except OperationalError as error:
            mine = connection.vendor == "sqlite" and not connection.in_atomic_block and "is locked" in str(error)
            if not mine or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _insert_into(model: type[OrmQ], connection: BaseDatabaseWrapper, row: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return the statement and its parameters. Other columns get their default, as from old senders."""
    name, *columns = map(connection.ops.quote_name, (model._meta.db_table, *row))
    places, params = list[str](), list[Any]()
    for value in row.values():
        expression = isinstance(value, RawSQL)
        places.append(value.sql if expression else "%s")
        params += value.params if expression else (value,)
    return f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join(places)})", params
