"""Inserts queue rows and notifies consumers."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import OperationalError, transaction
from django.db.models.expressions import RawSQL

from django_q_orm.database_clock import VENDORS
from django_q_orm.notify import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper
    from django_q.databases.statements import Statement

    from django_q_orm.models import OrmQ
    from django_q_orm.notify import Listener


T = TypeVar("T")

WRITE_LOCK_TIMEOUT_SECONDS = 20.0
"""Time for which a sender waits for SQLite's write lock, in addition to Django's own timeout."""


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
    if beside is None:
        with connection.cursor() as cursor:
            return _insert(model, connection, row, cursor)
    with short_transaction(connection) as cursor:
        cursor.execute(beside.sql, beside.values)
        return _insert(model, connection, row, cursor)


def _insert(model: type[OrmQ], connection: BaseDatabaseWrapper, row: Mapping[str, Any], cursor: CursorWrapper) -> int:
    if connection.vendor not in VENDORS:
        return int(model._default_manager.using(connection.alias).create(**{"due": 0, "rank": 0, **row}).pk)
    statement, params = _insert_into(model, connection, row)
    if connection.vendor == "postgresql":
        cursor.execute(f"{statement} RETURNING id", params)
        return int(cursor.fetchone()[0])
    cursor.execute(statement, params)
    return int(cursor.lastrowid)


@contextmanager
def short_transaction(connection: BaseDatabaseWrapper) -> Iterator[CursorWrapper]:
    """Make the statements of a cursor one transaction, or a part of the current one.

    On SQLite, `atomic` takes a quarter of the time to send a task: it changes the state of the connection and back.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block or not connection.get_autocommit():
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            yield cursor
        return
    with connection.cursor() as cursor, connection.wrap_database_errors:
        session = connection.connection
        session.execute("BEGIN IMMEDIATE")
        try:
            yield cursor
            session.execute("COMMIT")
        except BaseException:
            if session.in_transaction:  # some errors end it
                session.execute("ROLLBACK")
            raise


def insert_and_notify(
    model: type[OrmQ],
    connection: BaseDatabaseWrapper,
    listener: Listener,
    row: Mapping[str, Any],
    beside: Statement | None = None,
) -> int:
    """Insert a row and notify consumers if necessary, in one statement of PostgreSQL, and return the id.

    In a transaction, a row always notifies, because the time of the commit is unknown.

    Args:
        model: of the row.
        connection: to the database.
        listener: of the queue.
        row: columns of the row.
        beside: an INSERT that is part of the statement; None for none.
    """
    in_transaction = connection.in_atomic_block
    needed = ALWAYS if in_transaction else listener.is_needed(connection.ops.quote_name(model._meta.db_table))
    statement, values = _insert_into(model, connection, row)
    statement += " RETURNING id"
    if needed is not None:
        statement += f", CASE WHEN {needed.text} THEN pg_notify(%s, '')::text END"
        values += [*needed.values, listener.channel]
    if beside is not None:
        statement, values = f"WITH beside AS ({beside.sql}) {statement}", [*beside.values, *values]
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        number, *notified = cursor.fetchone()
    if not in_transaction:
        listener.sent(number, waits=notified == [None])
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
