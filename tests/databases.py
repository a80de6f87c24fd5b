"""More databases for single tests, and what can happen to their sessions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from django.db.backends.base.base import BaseDatabaseWrapper

READ_ONLY = {"mysql": "SET SESSION TRANSACTION READ ONLY", "postgresql": "SET default_transaction_read_only = on"}
OWN_ID = {"mysql": "SELECT connection_id()", "postgresql": "SELECT pg_backend_pid()"}
TERMINATE = {"mysql": "KILL {}", "postgresql": "SELECT pg_terminate_backend({})"}


@contextmanager
def reachable(alias: str, database: Mapping[str, Any]) -> Iterator[str]:
    """Make a database known to Django under an alias.

    Args:
        alias: the alias.
        database: its entry in `DATABASES`.
    """
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: dict(database)})[alias]
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias], connections.settings[alias]


def sqlite(path: Path) -> dict[str, Any]:
    """Return the entry of an SQLite file."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}


class OneDatabase:
    """A router that chooses one database for everything."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: object, **hints: object) -> str:
        """Return the database."""
        return self.alias

    db_for_write = db_for_read


def ask(connection: BaseDatabaseWrapper, statement: str) -> Any:
    """Execute a statement in the session of a connection, and return the first value of its answer."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def make_read_only(connection: BaseDatabaseWrapper) -> None:
    """Make the open session read-only, as if its server had become a replica. A new session can write."""
    ask(connection, READ_ONLY[connection.vendor])


def terminate(connection: BaseDatabaseWrapper) -> None:
    """End the open session, as the server may."""
    number = ask(connection, OWN_ID[connection.vendor])
    other = connection.copy()
    try:
        ask(other, TERMINATE[connection.vendor].format(number))
    finally:
        other.close()


BREAKS = {"read-only": make_read_only, "terminated": terminate}
