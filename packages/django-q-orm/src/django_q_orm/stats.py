"""Stores statistics of clusters in the database or, on SQLite, in files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django_q.brokers.file_stats import FileStats
from django_q.databases.sqlite import folder_beside

from django_q_orm.database_clock import moment
from django_q_orm.inserts import retry_while_locked

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from django_q_orm.models import OrmStat


def stats_in(connection: BaseDatabaseWrapper) -> TableStats | FileStats:
    """Return the storage for statistics: a table, on SQLite files."""
    folder = folder_beside(connection)
    return TableStats(connection) if folder is None else FileStats(folder)


class TableStats:
    """One row per cluster. Expired rows are not returned, and deleted when a cluster starts.

    Args:
        connection: connection to the database that holds the queue.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def set(self, key: str, value: str, timeout: float) -> None:
        """Store *value* for *timeout* seconds, after the first time in one statement."""
        retry_while_locked(self.connection, lambda: self._write(key, value, timeout))

    def get(self, key: str) -> str | None:
        """Return the value under *key*; None if there is none."""
        return self._kept().filter(key=key).values_list("value", flat=True).first()

    def all(self, pattern: str) -> list[str | bytes]:
        """Return the values under all keys that match *pattern*, a prefix and `*`."""
        prefix = pattern.removesuffix("*")
        found = self._kept().filter(key__startswith=prefix).order_by("key").values_list("key", "value")
        # LIKE of SQLite ignores case.
        return [value for key, value in found if key.startswith(prefix)]

    def _write(self, key: str, value: str, timeout: float) -> None:
        rows, expires = self._rows(), moment(self.connection, timeout)
        if not rows.filter(key=key).update(value=value, expires=expires):
            rows.filter(expires__lte=moment(self.connection)).delete()
            rows.create(key=key, value=value, expires=expires)

    def _kept(self) -> QuerySet[OrmStat]:
        return self._rows().filter(expires__gt=moment(self.connection))

    def _rows(self) -> QuerySet[OrmStat]:
        model: type[OrmStat] = apps.get_model("django_q_orm", "OrmStat")
        return model._default_manager.using(self.connection.alias)
