"""Avoids locks of MySQL and MariaDB, where a statement waits for each row that it reads, not only for changed ones.

If it reads the whole table or an index of the queue, it waits for rows of senders with open transactions. The
optimizer reads the whole table if a statement contains the ids of most of its rows.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from django.db.backends.base.base import BaseDatabaseWrapper

READ_COMMITTED: Final = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""Statement that sets the level of the next transaction of the session only."""

LOGS_STATEMENTS: Final = "SELECT @@log_bin AND @@binlog_format = 'STATEMENT'"
"""Query that returns true if the server logs statements. Such a server rejects READ COMMITTED."""


def by_primary_key(connection: BaseDatabaseWrapper, table: str) -> AbstractContextManager[None]:
    """Return a context manager in which updates and deletions by ids read no other rows.

    Args:
        connection: connection to the database.
        table: name of the table.
    """
    return _forced(connection, table) if connection.vendor == "mysql" else nullcontext()


@contextmanager
def _forced(connection: BaseDatabaseWrapper, table: str) -> Iterator[None]:
    name = connection.ops.quote_name(table)
    forced = f"{name} FORCE INDEX (PRIMARY)"
    forms = {
        f"UPDATE {name} SET": f"UPDATE {forced} SET",
        f"DELETE FROM {name} WHERE": f"DELETE {name} FROM {forced} WHERE",
    }

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        for form, better in forms.items():
            if sql.startswith(form):
                sql = better + sql.removeprefix(form)
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield


@contextmanager
def claiming(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Open a transaction that claims rows. On MySQL and MariaDB it has the level READ COMMITTED.

    A higher level locks the gaps between rows, too, so that senders wait and concurrent claims deadlock. In a
    transaction of the caller, the level is that of the caller.
    """
    lower = connection.vendor == "mysql" and not connection.in_atomic_block and _is_higher(connection)
    with transaction.atomic(using=connection.alias):
        if lower:
            _ask(connection, READ_COMMITTED)
        yield


def _is_higher(connection: BaseDatabaseWrapper) -> bool:
    if not connection.get_autocommit():
        return False  # a transaction of the caller may be open
    level = getattr(connection, "isolation_level", None)
    return level not in ("read committed", "read uncommitted") and not _ask(connection, LOGS_STATEMENTS)


def _ask(connection: BaseDatabaseWrapper, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None
