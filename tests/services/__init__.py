"""Private servers for tests: each on a free port, in a temporary folder, ended by its process id."""

from __future__ import annotations

from tests.services.mariadb import MariaDB
from tests.services.postgres import Postgres
from tests.services.redis import Redis
from tests.services.server import Server, Unavailable

__all__ = ["MariaDB", "Postgres", "Redis", "Server", "Unavailable"]
