"""Databases that fail over, block, or are away: a cluster keeps what it has, and goes on."""

from __future__ import annotations

import psycopg
import pytest

from tests.services import Postgres
from tests.services.fixtures import missing
from tests.services.server import Unavailable

from .site import Site, eventually

CLUSTER = {"name": "acceptance", "workers": 2, "retry": 30, "orm": "default"}


@pytest.fixture(scope="module")
def standby_server():
    """A second PostgreSQL."""
    try:
        with Postgres() as server:
            yield server
    except (ImportError, Unavailable) as error:
        missing("postgres", error)


def execute(server: Postgres, statement: str) -> None:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


def set_read_only(server: Postgres, value: str) -> None:
    """Let a server refuse writes, in open sessions too; its sessions stay open."""
    execute(server, f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    execute(server, "SELECT pg_reload_conf()")
    eventually(lambda: shown(server) == value)


def shown(server: Postgres) -> str:
    with psycopg.connect(server.dsn) as connection:
        return connection.execute("SHOW default_transaction_read_only").fetchone()[0]


def sent(site: Site, *labels: str) -> None:
    site.run(f"from django_q.tasks import async_task\nfor label in {labels!r}: async_task('jobs.mark', label)")


def noted(site: Site, *labels: str, within: float, log) -> None:
    eventually(lambda: set(labels) <= set(site.notes()), within=within, why=lambda: f"{site.notes()}\n{log()}")


def saved(site: Site) -> int:
    return site.run("from django_q.models import Success; answer = Success.objects.count()")


def test_cluster_follows_the_primary(tmp_path, postgres_server, standby_server):
    primaries = [postgres_server, standby_server]
    for server in primaries:
        execute(server, "CREATE DATABASE failover")
    database = postgres_server.database("failover") | {
        "HOST": ",".join(server.host for server in primaries),
        "PORT": ",".join(str(server.port) for server in primaries),
        "CONN_MAX_AGE": None,
        "OPTIONS": {"target_session_attrs": "read-write"},
    }
    site = Site(tmp_path, CLUSTER, database, ("django_q_orm",))
    try:
        site.manage("migrate", "-v0")
        set_read_only(postgres_server, "on")
        site.manage("migrate", "-v0")
        set_read_only(standby_server, "on")
        set_read_only(postgres_server, "off")
        with site.cluster() as cluster:
            sent(site, "before")
            eventually(lambda: saved(site) == 1, why=lambda: cluster.log)
            set_read_only(postgres_server, "on")
            set_read_only(standby_server, "off")
            sent(site, "after")
            site.run("from django_q.tasks import schedule; schedule('jobs.mark', 'scheduled')")
            noted(site, "after", "scheduled", within=15, log=lambda: cluster.log)
            eventually(lambda: saved(site) == 2, why=lambda: cluster.log)
            assert site.notes().count("after") == 1
            assert "crashed" not in cluster.log
            assert "reincarnated" not in cluster.log
            assert cluster.stop() == 0
    finally:
        site.close()
        for server in primaries:
            set_read_only(server, "off")
            execute(server, "DROP DATABASE failover WITH (FORCE)")
