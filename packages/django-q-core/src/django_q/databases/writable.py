"""Notices that the server of an open session accepts no writes any more, before something is to be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import connections

from django_q import clock
from django_q.databases.connections import close_connections
from django_q.databases.errors import ReadOnlySession

if TYPE_CHECKING:
    from django.db.models import Model

PROBE_SECONDS: Final = 4.0
"""Interval of the probes of an idle process."""

NO_ROW: Final = "-1"
"""A primary key that no row has, be it text or a number."""


def require_writable(model: type[Model], using: str) -> None:
    """Check that the session can write; close it if it cannot, so that the next one may reach the new primary.

    A server that has become a replica still answers queries, but what it answers is out of date. Nothing is written.

    Args:
        model: whose table the session writes.
        using: the database.

    Raises:
        django.db.DatabaseError: `is_unavailable`: the session cannot write, or the database is unavailable.
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
        # Its variables do not tell: privileged users can write although they are set.
        table, pk = (connection.ops.quote_name(name) for name in (model._meta.db_table, str(model._meta.pk.column)))
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {pk} = {pk} WHERE {pk} = %s", [NO_ROW])


class WriteProbe:
    """Checks every few seconds that a session which only reads could write.

    Args:
        model: as for `require_writable`.
        using: the database.
    """

    def __init__(self, model: type[Model], using: str) -> None:
        self.model, self.using = model, using
        self.due_at = 0.0

    def step(self) -> None:
        """Check if it is time.

        Raises:
            django.db.DatabaseError: as of `require_writable`.
        """
        if clock.monotonic() >= self.due_at:
            require_writable(self.model, self.using)
            self.due_at = clock.monotonic() + PROBE_SECONDS
