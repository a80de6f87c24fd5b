"""Remembers successes that cannot be deleted, because a foreign key or a receiver that raises protects them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from django.db import InterfaceError, OperationalError, connections, transaction

from django_q import clock
from django_q.databases.errors import is_session_failure
from django_q.log import messages as log

if TYPE_CHECKING:
    from django_q.models import Task

RETRY_SECONDS: Final = 3600.0
"""Time after which the deletion of a protected success is tried again, because it may not be protected any more."""

MAX_REFUSALS: Final = 100_000
"""Maximum number of remembered successes. With more, all of them are forgotten and tried again."""


class Refusals:
    """Remembers which successes of a database cannot be deleted, so that each is logged once."""

    def __init__(self) -> None:
        self._retry_at: dict[str, float] = {}

    def has(self, pk: str) -> bool:
        """Return True if the deletion of a success is not to be tried now."""
        return self._retry_at.get(pk, 0.0) > clock.monotonic()

    def add(self, pk: str) -> bool:
        """Remember a success.

        Returns:
            True if it was not known.
        """
        if len(self._retry_at) >= MAX_REFUSALS:
            self._retry_at.clear()
        new = pk not in self._retry_at
        self._retry_at[pk] = clock.monotonic() + RETRY_SECONDS
        return new


@cache
def refusals_of(using: str) -> Refusals:
    """Return this process's memory for a database.

    Args:
        using: alias of the database.
    """
    return Refusals()


def delete_one(task: Task, using: str, refusals: Refusals) -> None:
    """Delete a success with Django's collector and signals. If the deletion is refused, log that once.

    Args:
        task: the success.
        using: alias of its database.
        refusals: memory for that database.

    Raises:
        django.db.DatabaseError: the database is unavailable.
    """
    pk = task.pk
    try:
        with transaction.atomic(using=using):
            task.delete(using=using)
    except (Exception, SystemExit) as error:
        if isinstance(error, (OperationalError, InterfaceError)) or is_session_failure(error):
            if is_session_failure(error) or not connections[using].is_usable():
                raise
            return  # for example a lock; the next step tries again
        if refusals.add(pk):
            log.result.not_deletable(task, pk, error)
