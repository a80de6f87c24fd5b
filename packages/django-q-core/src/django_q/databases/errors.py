"""Classifies errors of databases: unavailable (retry later), unsuitable value (do not retry), conflict (retry now)."""

from __future__ import annotations

from typing import Final

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
)

from django_q.exceptions import BrokerUnavailable, ResultsUnavailable, UnsuitableOutcome

NOT_IN_CHARSET: Final = {1267, 1366, 3988}
"""Numbers of operational errors of MySQL and MariaDB that characters of a label cause."""

PACKET_TOO_LARGE: Final = 1153
"""Error number of MySQL and MariaDB for a packet larger than `max_allowed_packet`."""

LIMIT_EXCEEDED: Final = "54"
"""Class of PostgreSQL's SQLSTATEs for values that are larger than a limit of the server."""

SERIALIZATION_FAILURES: Final = {"40001", "40P01", 1020, 1213}
"""SQLSTATEs of PostgreSQL and error numbers of MySQL and MariaDB: the transaction was rolled back because of others.
Repeated, it succeeds."""

LOCK_TIMEOUT: Final = 1205
"""Error number of MySQL and MariaDB: the wait for a lock was too long."""

SESSION_FAILURES: Final = {
    *("25006", "57P01", "57P02", "57P03", "57P05"),  # PostgreSQL: read-only, or terminated
    *(1053, 1290, 1792, 1836, 1927, 2006, 2013, 4031),  # MySQL and MariaDB: shutting down, read-only, or disconnected
}
"""SQLSTATEs and error numbers of a session that cannot continue. Another session, maybe on another server, can."""


class ReadOnlySession(OperationalError):
    """The database accepts no writes: its server has become a replica, or is read-only."""


def is_unavailable(error: BaseException) -> bool:
    """Return True if a server is unavailable, so that the same operation may succeed later.

    It is down, restarting, read-only, out of space, locked or not migrated yet.
    """
    if isinstance(error, (BrokerUnavailable, InterfaceError, ResultsUnavailable)):
        return True
    return isinstance(error, DatabaseError) and not is_unsuitable(error)


def is_unsuitable(error: BaseException) -> bool:
    """Return True if the database rejects a value, so that a retry fails, too."""
    if isinstance(error, OperationalError):
        return code_of(error) in NOT_IN_CHARSET or is_too_large(error)
    return isinstance(
        error, (DataError, IntegrityError, NotSupportedError, OverflowError, TypeError, ValueError, UnsuitableOutcome)
    )


def is_too_large(error: BaseException) -> bool:
    """Return True if a value or statement is larger than a limit of the server."""
    code = code_of(error)
    return code == PACKET_TOO_LARGE or (isinstance(code, str) and code.startswith(LIMIT_EXCEEDED))


def is_conflict(error: BaseException) -> bool:
    """Return True if another cluster saved the same task, or locked the same rows, at the same time."""
    return isinstance(error, IntegrityError) or is_serialization_failure(error) or code_of(error) == LOCK_TIMEOUT


def is_serialization_failure(error: BaseException) -> bool:
    """Return True if a transaction was rolled back because of others, and should be repeated at once."""
    return code_of(error) in SERIALIZATION_FAILURES


def is_session_failure(error: BaseException) -> bool:
    """Return True if the session is the cause: it is read-only, was terminated, or its server shuts down."""
    return isinstance(error, ReadOnlySession) or code_of(error) in SESSION_FAILURES


def code_of(error: BaseException) -> str | int | None:
    """Return the SQLSTATE of PostgreSQL, or the error number of MySQL and MariaDB; None if there is none."""
    first = error.args[0] if isinstance(error, DatabaseError) and error.args else None
    if isinstance(first, int):
        return first
    cause = error.__cause__
    state: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state
