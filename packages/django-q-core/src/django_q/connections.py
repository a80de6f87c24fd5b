"""Database connections of processes that live long: one each, kept while it works."""

from __future__ import annotations

from django.db import Error, connections

CAUSE, CONTEXT = BaseException.__dict__["__cause__"], BaseException.__dict__["__context__"]
"""Read what caused an exception without running its own code."""

MAX_CAUSES = 10
"""Maximum number of causes that are looked at."""


def tidy_connections(*, idle: bool = False) -> None:
    """Close what cannot be used any more.

    A web request may close its connections each time; a worker that ran thousands of tasks a second would open as many
    connections. So a connection is kept from task to task, unless a task broke it or left a transaction open on it.

    Args:
        idle: there was nothing to do for a while: now honour `CONN_MAX_AGE` too, and close what the server may have
            closed on its side.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        if connection.in_atomic_block or not connection.get_autocommit():
            connection.in_atomic_block = False
            connection.close()
        elif connection.errors_occurred:
            connection.close()  # a session that has become read-only still looks usable to Django
        elif idle:
            connection.close_if_unusable_or_obsolete()


def close_connections() -> None:
    """Close the connections of this thread after an error: the server may have become a replica, or shut down.

    Those with an open transaction stay.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def close_after(error: BaseException) -> None:
    """Close the connections of this thread if a task failed because of a database.

    A session that has become read-only still looks usable to Django, and would let all following tasks fail.
    """
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if cause is None:
            return
        if issubclass(type(cause), Error):
            close_connections()
            return
        cause = CAUSE.__get__(cause) or CONTEXT.__get__(cause)
