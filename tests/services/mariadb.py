"""MariaDB, for tests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from tests.services.server import Server, program

if TYPE_CHECKING:
    from pymysql.connections import Connection


class MariaDB(Server):
    """MariaDB from the system's packages, without durability."""

    product = "mariadb"
    account = "mysql"
    _numbers = itertools.count(1)

    def prepare(self) -> None:
        """Create a data folder whose user is `root`, without password."""
        method = "--auth-root-authentication-method=normal"
        command = [program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder / 'data'}", method]
        self.run([*command, "--skip-test-db", self._temporary_tables])

    @property
    def _temporary_tables(self) -> str:
        """Option for a folder of its own. A MariaDB deletes all temporary tables in its folder when it starts."""
        return f"--tmpdir={self.folder}"

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        return [
            program("mariadbd", "/usr/sbin", "/usr/local/sbin"),
            "--no-defaults",
            f"--bind-address={self.host}",
            "--character-set-server=utf8mb4",
            f"--datadir={self.folder / 'data'}",
            "--innodb-flush-log-at-trx-commit=0",
            f"--port={self.port}",
            "--skip-log-bin",
            f"--socket={self.folder / 's.sock'}",
            self._temporary_tables,
        ]

    def ready(self) -> bool:
        """Return True if it accepts a session."""
        import pymysql

        try:
            self.connect().close()
        except pymysql.OperationalError:
            return False
        return True

    def connect(self) -> Connection[Any]:
        """Return a connection without a database."""
        import pymysql

        options = {"connect_timeout": 5, "autocommit": True, "ssl_disabled": True}
        return pymysql.connect(host=self.host, port=self.port, user="root", **options)

    def database(self, name: str = "mysql") -> dict[str, Any]:
        """Return an entry of Django's `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "HOST": self.host,
            "NAME": name,
            # Without TLS: PyMySQL would read all certificates for each connection.
            "OPTIONS": {"charset": "utf8mb4", "ssl_disabled": True},
            "PORT": str(self.port),
            "USER": "root",
        }

    def fresh_database(self) -> dict[str, Any]:
        """Return an entry of Django's `DATABASES` for a new, empty database."""
        name = f"fresh_{next(self._numbers)}"
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return self.database(name)
