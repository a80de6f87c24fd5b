"""Locks of MySQL and MariaDB: a statement waits for each row that it reads, and not only for those that it changes.

Rows of senders whose transactions are still open are among those, if it reads the whole table or an index of the queue.
Their optimizers read the whole table if a statement names most of its rows.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

READ_COMMITTED: Final = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""Applies to the next transaction of the session, and to no other."""

LOGS_STATEMENTS: Final = "SELECT @@log_bin AND @@binlog_format = 'STATEMENT'"
"""Such a server rejects READ COMMITTED."""


@contextmanager
def by_primary_key(connection: BaseDatabaseWrapper, table: str) -> Iterator[None]:
    """Have updates and deletions that name rows by their ids read no other rows.

    Args:
        connection: to the database.
        table: name of the table.
    """
    if connection.vendor != "mysql":
        yield
        return
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
    """Open a transaction that claims rows; on MySQL and MariaDB at READ COMMITTED, whatever the project chose.

    At a higher level it locks the gaps between rows as well, so that senders wait, and several claims deadlock. Within
    a transaction of the caller, the level is the caller's.
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
