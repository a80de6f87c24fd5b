"""The servers of a series of trials: private, and started when a trial first asks for them."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from tests.services import Postgres, Redis

from . import peers
from .trial import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from tests.services.server import Server

    from .trial import Trial

S = TypeVar("S", bound="Server")

WAL = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
"""Options of SQLite for a production site."""


class Servers:
    """One Redis (or Valkey) and one PostgreSQL for all trials, one after another."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._asked = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @cached_property
    def redis(self) -> Redis:
        """Started.

        Raises:
            Unavailable: this machine has none.
        """
        return self._started(Redis())

    @cached_property
    def postgres(self) -> Postgres:
        """Started.

        Raises:
            Unavailable: this machine has none.
        """
        return self._started(Postgres())

    def _started(self, server: S) -> S:
        self._stack.callback(server.close)
        server.start()
        return server

    @contextmanager
    def place(self, trial: Trial) -> Iterator[Place]:
        """Empty servers and an empty folder; all is removed at the end."""
        folder = tempfile.mkdtemp(prefix="bench-")
        needs = peers.servers(trial)
        redis = ""
        if "redis" in needs:
            self.redis.flush()
            redis = self.redis.url
        database = self.postgres.fresh_database() if "postgres" in needs else _sqlite(folder)
        try:
            yield Place(trial=trial, folder=folder, redis=redis, database=database)
        finally:
            if "postgres" in needs:
                self.sql(f'DROP DATABASE "{database["NAME"]}" WITH (FORCE)')
            shutil.rmtree(folder, ignore_errors=True)

    def sql(self, statement: str) -> None:
        """Run a statement in PostgreSQL's own database."""
        import psycopg

        with psycopg.connect(self.postgres.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    def redis_commands(self) -> int:
        """Return the number of commands that Redis has processed, without those of this method."""
        return int(self._redis_client.info("stats")["total_commands_processed"]) - next(self._asked)

    @cached_property
    def _redis_client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.redis.url)

    @contextmanager
    def logged_statements(self, trial: Trial) -> Iterator[None]:
        """Let PostgreSQL write each statement into its log meanwhile, if the trial needs it."""
        if "postgres" not in peers.servers(trial):
            yield
            return
        self._log_statements("all")
        try:
            yield
        finally:
            self._log_statements("none")

    def statements(self) -> int:
        """Return the number of statements in the log."""
        log = self.postgres.log
        return sum(log.count(f"LOG:  {kind} ") for kind in ("statement:", "execute"))

    def _log_statements(self, which: str) -> None:
        self.sql(f"ALTER SYSTEM SET log_statement = '{which}'")
        self.sql("SELECT pg_reload_conf()")


def _sqlite(folder: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{folder}/db.sqlite3",
        "OPTIONS": {"timeout": 30, "init_command": WAL},
    }
