"""Database connections of processes that live long: one each, kept while it works."""

from __future__ import annotations

from django.db import connections


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
        elif idle or connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
