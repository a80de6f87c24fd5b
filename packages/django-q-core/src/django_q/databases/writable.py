"""Detects an open session that accepts no writes any more, before a process needs to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import connections

from django_q import clock
from django_q.databases.connections import close_connections
from django_q.databases.errors import ReadOnlySession

if TYPE_CHECKING:
    from django.db.models import Model

PROBE_SECONDS: Final = 4.0
"""Interval of probes in an idle process."""

NO_ROW: Final = "-1"
"""Primary key that no row has, for text and number columns."""


def require_writable(model: type[Model], using: str) -> None:
    """Check that the session can write. If it cannot, close it, so that the next one may reach the new primary.

    A server that has become a replica still answers queries, with outdated rows. This check writes no row.

    Args:
        model: model whose table the session writes.
        using: alias of the database.

    Raises:
        django.db.DatabaseError: the session cannot write, or the database is unavailable (`is_unavailable`).
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SHOW transaction_read_only")
            read_only = cursor.fetchone()[0] == "on"
        if read_only:
            close_connections()
            raise ReadOnlySession(f"The database '{using}' accepts no writes")
    elif connection.vendor == "mysql":
        # The read-only variables are no evidence: privileged users can write although they are set.
        table, pk = (connection.ops.quote_name(name) for name in (model._meta.db_table, str(model._meta.pk.column)))
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {pk} = {pk} WHERE {pk} = %s", [NO_ROW])


class WriteProbe:
    """Checks at intervals that a session which only reads could write.

    Args:
        model: model whose table the session writes.
        using: alias of the database.
    """

    def __init__(self, model: type[Model], using: str) -> None:
        self.model, self.using = model, using
        self.due_at = 0.0
        """Time of the next probe (`clock.monotonic`, seconds)."""

    def step(self) -> None:
        """Check the session if a probe is due.

        Raises:
            django.db.DatabaseError: see `require_writable`.
        """
        if clock.monotonic() >= self.due_at:
            require_writable(self.model, self.using)
            self.due_at = clock.monotonic() + PROBE_SECONDS
