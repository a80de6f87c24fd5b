"""Migrated databases, which the sites of a session share or copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .site import Site

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class MigratedDatabases:
    """Databases by kind. Each is created once, because a migration takes longer than most tests.

    Args:
        request: of a session fixture.
        folders: creates their folders.
    """

    def __init__(self, request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> None:
        self.request = request
        self.folders = folders
        self.made: dict[str, Any] = {}

    def sqlite(self) -> Path:
        """Return the file to copy."""
        if "sqlite" not in self.made:
            self.made["sqlite"] = self._migrate("sqlite", None) / "db.sqlite3"
        return self.made["sqlite"]

    def server(self, kind: str) -> dict[str, Any]:
        """Return an entry of `DATABASES` for a database of a server, which the previous test has used."""
        if kind not in self.made:
            self.made[kind] = self.request.getfixturevalue(f"{kind}_server").fresh_database()
            self._migrate(kind, self.made[kind])
        return self.made[kind]

    def _migrate(self, kind: str, database: dict[str, Any] | None) -> Path:
        folder = self.folders.mktemp(kind)
        Site(folder, {"name": "migrated", "orm": "default"}, database, ("django_q_orm",)).manage("migrate", "-v0")
        return folder
