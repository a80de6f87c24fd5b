"""PostgreSQL, for tests."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

from tests.services.server import Server, program


class Postgres(Server):
    """PostgreSQL from the system's packages, without durability."""

    product = "postgres"
    account = "postgres"
    stop_signal = signal.SIGINT
    _numbers = itertools.count(1)

    @property
    def dsn(self) -> str:
        """URL of its own database, `postgres`."""
        return f"postgresql://postgres@{self.address}/postgres"

    def prepare(self) -> None:
        """Create a data folder whose user is `postgres`, without password."""
        data = str(self.folder / "data")
        self.run([_program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        options = {
            "fsync": "off",
            "listen_addresses": self.host,
            "max_connections": "200",
            "unix_socket_directories": str(self.folder),
        }
        settings = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        return [_program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *settings]

    def ready(self) -> bool:
        """Return True if it accepts a session (not while it recovers)."""
        import psycopg

        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def database(self, name: str = "postgres") -> dict[str, Any]:
        """Return an entry of Django's `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": self.host,
            "NAME": name,
            "PORT": str(self.port),
            "USER": "postgres",
        }

    def fresh_database(self) -> dict[str, Any]:
        """Return an entry of Django's `DATABASES` for a new, empty database."""
        import psycopg

        name = f"fresh_{next(self._numbers)}"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.database(name)


def _program(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return program(name, *map(str, folders))


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdecimal() else 0
