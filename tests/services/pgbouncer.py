"""PgBouncer in front of PostgreSQL, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.services.server import Server, program

if TYPE_CHECKING:
    from tests.services.postgres import Postgres

CONFIGURATION = """
[databases]
* = host={host} port={postgres}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
"""


class PgBouncer(Server):
    """PgBouncer in transaction mode: a few sessions for all clients of each database.

    Args:
        postgres: the server.
    """

    product = "pgbouncer"
    account = "postgres"

    def __init__(self, postgres: Postgres) -> None:
        super().__init__()
        self.postgres = postgres

    def prepare(self) -> None:
        """Write the configuration."""
        values = {"host": self.host, "port": self.port, "postgres": self.postgres.port, "folder": self.folder}
        (self.folder / "users").write_text('"postgres" ""\n')
        (self.folder / "pgbouncer.ini").write_text(CONFIGURATION.format(**values))

    def command(self) -> list[str]:
        """Log to the standard error."""
        return [program("pgbouncer", "/usr/sbin"), str(self.folder / "pgbouncer.ini")]

    def database(self, database: dict[str, Any]) -> dict[str, Any]:
        """Return the entry of Django's `DATABASES` for a database of the server, through this pooler."""
        return database | {"HOST": self.host, "PORT": str(self.port), "DISABLE_SERVER_SIDE_CURSORS": True}
