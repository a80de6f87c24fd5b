"""Classifies the errors of a database. The README has the table."""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from django.db import Error, ProgrammingError
from django.db.transaction import TransactionManagementError
from django_q.databases.errors import LOCK_TIMEOUT, code_of, is_serialization_failure, is_too_large, is_unsuitable
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

MAX_ATTEMPTS: Final = 10
"""Maximum number of attempts of a statement that conflicts with others."""

MAX_PAUSE_SECONDS: Final = 0.05
"""Maximum pause between two attempts."""

MAX_REPEATING_SECONDS: Final = 10.0
"""Time after which a call is not repeated, because leases must be renewed. MariaDB waits 50 seconds for a lock."""

NOT_PREPARED: Final = {
    *("3F000", "42501", "42703", "42P01"),  # PostgreSQL: missing schema, right, column, table
    *(1044, 1049, 1054, 1142, 1143, 1146),  # MySQL and MariaDB: missing right, database, column, table
}
"""Codes of errors that a migration or a granted right corrects."""


class Conflict(BrokerUnavailable):
    """Another process used the same rows at the same time. The call can be repeated."""


def meaning_of(error: Error, alias: str) -> BrokerError:
    """Classify an error. Only this function decides that the queue is unavailable.

    Args:
        error: error of Django's database layer.
        alias: alias of the database.

    Returns:
        A `BrokerUnavailable` if the same call may succeed later, another `BrokerError` if the request is rejected.
    """
    code = code_of(error)
    if is_serialization_failure(error) or code == LOCK_TIMEOUT:
        return Conflict(f"The database '{alias}' has conflicting transactions: {error}")
    if is_unsuitable(error):
        if is_too_large(error):
            return PackageTooLarge(f"The database '{alias}' refuses the package: {error}")
        return BrokerError(f"The database '{alias}' refuses: {error}")
    if code in NOT_PREPARED or "no such table" in str(error):
        hint = f"run manage.py migrate --database {alias}, or grant the rights"
        return BrokerUnavailable(f"The database '{alias}' is not prepared: {error}: {hint}")
    if isinstance(error, (ProgrammingError, TransactionManagementError)):
        return BrokerError(f"The database '{alias}' refuses: {error}")
    return BrokerUnavailable(f"The database '{alias}' cannot be used: {error}")


def repeated(method: Callable[P, T]) -> Callable[P, T]:
    """Repeat a method that raises `Conflict`: after serialization failures, deadlocks and lock timeouts."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        deadline = time.monotonic() + MAX_REPEATING_SECONDS
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return method(*args, **kwargs)
            except Conflict:
                if time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))
        return method(*args, **kwargs)

    return call
