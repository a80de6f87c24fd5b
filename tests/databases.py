"""A database beside the site's own, for as long as a test needs it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@contextmanager
def reachable(alias: str, database: Mapping[str, Any]) -> Iterator[str]:
    """Make a database known to Django under an alias.

    Args:
        alias: its name in `using=`.
        database: its entry in `DATABASES`.
    """
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: dict(database)})[alias]
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias], connections.settings[alias]


def sqlite(path: Path) -> dict[str, Any]:
    """Return the entry of an SQLite file."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}
