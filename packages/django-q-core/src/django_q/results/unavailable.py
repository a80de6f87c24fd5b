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

from django_q.exceptions import BrokerUnavailable, DjangoQError
from django_q.option_values import NOT_IN_CHARSET

FAULTS_OF_THE_VALUE: Final = {1153, *NOT_IN_CHARSET}
"""What MySQL and MariaDB call operational although a value is to blame: it is larger than `max_allowed_packet`, or has
characters that the table's character set lacks."""

CONFLICTS: Final = {1205, 1213}
"""MySQL and MariaDB: waited too long for a lock, and deadlock."""


class ResultsUnavailable(DjangoQError):
    """Results cannot be saved or read now: check that the database or cache runs, and its address."""


class UnsuitableOutcome(DjangoQError):
    """The outcome does not fit into the database."""


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
        return bool(error.args) and error.args[0] in FAULTS_OF_THE_VALUE
    return isinstance(
        error, (DataError, IntegrityError, NotSupportedError, OverflowError, TypeError, ValueError, UnsuitableOutcome)
    )


def is_conflict(error: DatabaseError) -> bool:
    """Tell whether another cluster saved the same task, or wanted the same rows, at this moment."""
    if isinstance(error, IntegrityError):
        return True
    state = getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)
    return state in {"40001", "40P01"} or bool(error.args and error.args[0] in CONFLICTS)
