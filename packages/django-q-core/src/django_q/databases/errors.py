"""What a database's errors mean for what was to be saved."""

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
"""Codes that MySQL and MariaDB report as operational, though characters of a label cause them."""

FAULTS_OF_THE_VALUE: Final = {1153, *NOT_IN_CHARSET}
"""What MySQL and MariaDB call operational although a value is to blame: it is larger than `max_allowed_packet`, or has
characters that the table's character set lacks."""

LIMIT_EXCEEDED: Final = "54"
"""PostgreSQL: class of the states of values that are larger than a limit of the server."""

SERIALIZATION_FAILURES: Final = {"40001", "40P01", 1020, 1213}
"""SQLSTATEs of PostgreSQL and error numbers of MySQL and MariaDB: the transaction was rolled back because of others,
and succeeds when it is repeated."""

LOCK_TIMEOUT: Final = 1205
"""MySQL and MariaDB: waited too long for a lock."""

SESSION_FAILURES: Final = {
    *("25006", "57P01", "57P02", "57P03", "57P05"),  # PostgreSQL: read-only, or terminated
    *(1053, 1290, 1792, 1836, 1927, 2006, 2013, 4031),  # MySQL and MariaDB: shutting down, read-only, or disconnected
}
"""Another session, perhaps on another server, can do what this one cannot."""


class ReadOnlySession(OperationalError):
    """The database accepts no writes: its server has become a replica, or is set to read-only."""


def is_unavailable(error: BaseException) -> bool:
    """Return whether a server is unavailable, so that trying again later may help: the value is not to blame.

    Down, restarting, read-only, out of space, locked or not migrated yet.
    """
    if isinstance(error, (BrokerUnavailable, InterfaceError, ResultsUnavailable)):
        return True
    return isinstance(error, DatabaseError) and not is_unsuitable(error)


def is_unsuitable(error: BaseException) -> bool:
    """Tell whether the database refuses a value, today and tomorrow."""
    if isinstance(error, OperationalError):
        code = code_of(error)
        return code in FAULTS_OF_THE_VALUE or (isinstance(code, str) and code.startswith(LIMIT_EXCEEDED))
    return isinstance(
        error, (DataError, IntegrityError, NotSupportedError, OverflowError, TypeError, ValueError, UnsuitableOutcome)
    )


def is_conflict(error: BaseException) -> bool:
    """Tell whether another cluster saved the same task, or wanted the same rows, at this moment."""
    return isinstance(error, IntegrityError) or is_serialization_failure(error) or code_of(error) == LOCK_TIMEOUT


def is_serialization_failure(error: BaseException) -> bool:
    """Return True if a transaction was rolled back because of others, so that it is to be repeated at once."""
    return code_of(error) in SERIALIZATION_FAILURES


def is_session_failure(error: BaseException) -> bool:
    """Return True if the session is to blame: it is read-only, was terminated, or its server shuts down."""
    return isinstance(error, ReadOnlySession) or code_of(error) in SESSION_FAILURES


def code_of(error: BaseException) -> str | int | None:
    """Return the SQLSTATE of an error of PostgreSQL, or the number of one of MySQL and MariaDB; None without one."""
    first = error.args[0] if isinstance(error, DatabaseError) and error.args else None
    if isinstance(first, int):
        return first
    cause = error.__cause__
    state: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state
