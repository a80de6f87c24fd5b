"""Limits of the database for the size of a statement.

MySQL and MariaDB close the connection on a statement longer than `max_allowed_packet` (16 MB by default). This looks
like an outage, but retries cannot succeed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SHORT_STATEMENT: Final = 500_000
"""Size in bytes that each server allows. Its limit is read for larger values only."""

STATEMENT_OVERHEAD: Final = 10_000
"""Maximum size of a statement in bytes, without the values that may be long."""


def byte_size(text: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def exceeded_limit(size: int, connection: BaseDatabaseWrapper) -> int | None:
    """Return the server's limit for a statement if one with values of this size exceeds it, None otherwise.

    Args:
        size: of the values (bytes). The server is not asked about short ones.
        connection: to the database.
    """
    if size <= SHORT_STATEMENT:
        return None
    limit = longest_statement(connection)
    return limit if limit is not None and size + STATEMENT_OVERHEAD > limit else None


def longest_statement(connection: BaseDatabaseWrapper) -> int | None:
    """Return the maximum size of a statement in bytes, as the server has it; None means no limit in practice."""
    if connection.vendor != "mysql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        return int(cursor.fetchone()[0])
