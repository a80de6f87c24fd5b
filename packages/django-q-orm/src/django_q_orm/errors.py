"""Classifies the errors of a database; the README has the table."""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from django.db import Error, ProgrammingError
from django.db.transaction import TransactionManagementError
from django_q.databases.errors import LIMIT_EXCEEDED, LOCK_TIMEOUT, code_of, is_serialization_failure, is_unsuitable
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

MAX_TRIES: Final = 10
"""Number of times that a statement is tried which conflicts with others."""

MAX_PAUSE_SECONDS: Final = 0.05
"""Maximum pause between two tries."""

MAX_REPEATING_SECONDS: Final = 10.0
"""Time after which a call is not repeated: leases are to be renewed, and MariaDB waits 50 seconds for a lock."""

PREPARATIONS: Final = {
    *("3F000", "42501", "42703", "42P01"),  # PostgreSQL: no schema, right, column, table
    *(1044, 1049, 1054, 1142, 1143, 1146),  # MySQL and MariaDB: no right, database, column, table
}
"""Codes of errors that end when the database is migrated or a right is granted."""

TOO_LARGE: Final = 1153
"""MySQL and MariaDB: larger than `max_allowed_packet`."""


class Conflict(BrokerUnavailable):
    """Another process wanted the same rows at the same moment: try again."""


def meaning_of(error: Error, alias: str) -> BrokerError:
    """Classify an error: this is the only place where it is decided whether the queue is unavailable.

    Args:
        error: of Django's database layer.
        alias: of the database.

    Returns:
        A `BrokerUnavailable` if the same call may succeed later, another `BrokerError` if its package is rejected.
    """
    code = code_of(error)
    if is_serialization_failure(error) or code == LOCK_TIMEOUT:
        return Conflict(f"The database '{alias}' has conflicting transactions: {error}")
    if is_unsuitable(error):
        if code == TOO_LARGE or (isinstance(code, str) and code.startswith(LIMIT_EXCEEDED)):
            return PackageTooLarge(f"The database '{alias}' refuses the package: {error}")
        return BrokerError(f"The database '{alias}' refuses: {error}")
    if code in PREPARATIONS or "no such table" in str(error):
        hint = f"run manage.py migrate --database {alias}, or grant the rights"
        return BrokerUnavailable(f"The database '{alias}' is not prepared: {error}: {hint}")
    if isinstance(error, (ProgrammingError, TransactionManagementError)):
        return BrokerError(f"The database '{alias}' refuses: {error}")
    return BrokerUnavailable(f"The database '{alias}' cannot be used: {error}")


def repeated(method: Callable[P, T]) -> Callable[P, T]:
    """Repeat a method at once that raises `Conflict`: on serialization failures, deadlocks and lock timeouts."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        deadline = time.monotonic() + MAX_REPEATING_SECONDS
        for _ in range(MAX_TRIES - 1):
            try:
                return method(*args, **kwargs)
            except Conflict:
                if time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))
        return method(*args, **kwargs)

    return call
