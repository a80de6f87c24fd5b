"""Databases that fail over, block, or are away: a cluster keeps what it has, and goes on."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager

import psycopg
import pymysql
import pytest
from django_q_redis.keys import keys_of
from redis import Redis

from tests.services import Postgres, Proxy
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


# databases that block


@pytest.fixture
def two_databases(tmp_path, postgres_server):
    """Make a site whose queue is in another database than its results; return it with the entry of the queue."""
    made = []

    def make(database, queue, **q_cluster):
        site = Site(tmp_path, CLUSTER | q_cluster | {"orm": "queue"}, database, ("django_q_orm",))
        with (site.folder / "site_settings.py").open("a") as file:
            file.write(f"DATABASES['queue'] = {queue!r}\n")
        site.manage("migrate", "-v0")
        site.manage("migrate", "-v0", "django_q_orm", "--database", "queue")
        made.append(site)
        return site

    yield make
    for each in made:
        each.close()


@contextmanager
def locked(database, *tables):
    """Lock tables for everybody."""
    if "mysql" in database["ENGINE"]:
        where = {"host": database["HOST"], "port": int(database["PORT"]), "user": "root", "database": database["NAME"]}
        with closing(pymysql.connect(**where)) as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES " + ", ".join(f"{table} WRITE" for table in tables))
            yield
        return
    where = f"host={database['HOST']} port={database['PORT']} user=postgres dbname={database['NAME']}"
    with psycopg.connect(where) as connection:
        connection.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        connection.rollback()


def begun(site: Site) -> list[str]:
    """Labels of the tasks that began, one for each time."""
    return [line.split()[0] for line in site.notes() if "begins" in line or len(line.split()) == 1]


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_locked_tables_let_no_task_run_twice(make_site, kind):
    """Two clusters share a queue; the lock lasts two leases."""
    site = make_site(kind, retry=2, workers=2)
    database = site.run("from django.conf import settings; answer = settings.DATABASES['default']")
    labels = ["long-0", "long-1", *(f"short-{number}" for number in range(6))]
    with site.cluster() as first, site.cluster() as second:

        def logs():
            return f"{site.notes()}\n{first.log}\n{second.log}"

        site.run(f"from django_q.tasks import async_task\nfor label in {labels[:2]}: async_task('jobs.slow', label, 7)")
        eventually(lambda: len(begun(site)) == 2, why=logs)
        sent(site, *labels[2:])
        eventually(lambda: len(begun(site)) > 2, why=logs)
        with locked(database, "django_q_ormq", "django_q_task"):
            time.sleep(4)
        eventually(lambda: saved(site) == len(labels), within=20, why=logs)
        assert sorted(begun(site)) == labels
        assert "crashed" not in first.log + second.log


def test_results_behind_a_broken_network_are_not_lost(two_databases, postgres_server):
    results = postgres_server.fresh_database()
    with Proxy(postgres_server) as proxy:
        through = results | {"HOST": proxy.host, "PORT": str(proxy.port)}
        site = two_databases(through, postgres_server.fresh_database(), retry=3, guard_timeout=6)
        with site.cluster() as cluster:
            sent(site, "before")
            eventually(lambda: saved(site) == 1, why=lambda: cluster.log)
            proxy.stall()
            try:
                site.run(
                    """
                    from django_q.tasks import async_task
                    for number in range(5):
                        async_task("jobs.mark", f"after-{number}")
                    """
                )
                eventually(lambda: "connection closed" in cluster.log, within=10, why=lambda: cluster.log)
                time.sleep(8)  # longer than guard_timeout and several leases
                proxy.cut()
            finally:
                proxy.resume()
            eventually(lambda: saved(site) == 6, within=20, why=lambda: f"{site.notes()} {cluster.log}")
            assert sorted(site.notes()) == ["after-0", "after-1", "after-2", "after-3", "after-4", "before"]


def test_queue_behind_a_broken_network_is_found_and_runs_once(two_databases, postgres_server):
    queue = postgres_server.fresh_database()
    with Proxy(postgres_server) as proxy:
        through = queue | {"HOST": proxy.host, "PORT": str(proxy.port)}
        site = two_databases(postgres_server.fresh_database(), through, retry=6, guard_timeout=3)
        with site.cluster() as cluster:
            site.run("from django_q.tasks import async_task; async_task('jobs.slow', 'long', 12)")
            eventually(lambda: "long" in begun(site), why=lambda: cluster.log)
            proxy.stall()
            try:
                eventually(lambda: "the pusher made no progress" in cluster.log, within=10, why=lambda: cluster.log)
            finally:
                proxy.cut()
                proxy.resume()
            sent(site, "after")
            eventually(lambda: saved(site) == 2, within=20, why=lambda: f"{site.notes()} {cluster.log}")
            assert sorted(begun(site)) == ["after", "long"]


@pytest.mark.parametrize("down", ["results", "queue"])
def test_one_of_two_databases_is_down(two_databases, postgres_server, mariadb_server, down):
    site = two_databases(mariadb_server.fresh_database(), postgres_server.fresh_database(), retry=3)
    server = {"results": mariadb_server, "queue": postgres_server}[down]
    with site.cluster() as cluster:
        site.run("from django_q.tasks import async_task\nfor n in range(2): async_task('jobs.slow', f'long-{n}', 2)")
        eventually(lambda: len(begun(site)) == 2, why=lambda: cluster.log)
        server.stop()
        try:
            eventually(lambda: "retrying" in cluster.log, within=10, why=lambda: cluster.log)
            eventually(lambda: len(site.notes()) == 4, why=lambda: cluster.log)
        finally:
            server.start()
        sent(site, "after")
        eventually(lambda: saved(site) == 3, within=20, why=lambda: f"{site.notes()} {cluster.log}")
        assert sorted(begun(site)) == ["after", "long-0", "long-1"]
        assert "crashed" not in cluster.log
        assert "reincarnated" not in cluster.log


def test_lease_that_an_outage_left_is_renewed_before_it_ends(make_site, redis_server, redis_url):
    """Redis is away while two renewals are due, and back for the last two of nine seconds."""
    retry = 9
    with Proxy(redis_server) as proxy, Redis.from_url(redis_url) as client:
        site = make_site("redis", redis=f"redis://{proxy.host}:{proxy.port}/0", retry=retry)

        def lease():
            return dict(client.zrange(keys_of("django_q:acceptance:q").leases, 0, -1, withscores=True))

        with site.cluster() as cluster:
            site.run("from django_q.tasks import async_task; async_task('jobs.slow', 'long', 14)")
            eventually(lambda: "long" in begun(site), why=lambda: cluster.log)
            first = lease()
            eventually(lambda: lease() != first, within=retry, why=lambda: cluster.log)
            renewed, before = time.monotonic(), lease()
            proxy.drop()
            proxy.cut()
            eventually(lambda: "broker unavailable" in cluster.log, within=retry, why=lambda: cluster.log)
            time.sleep(max(0.0, renewed + retry - 2 - time.monotonic()))
            assert lease() == before
            proxy.resume()
            eventually(lambda: lease() != before, within=2, why=lambda: cluster.log)
            eventually(lambda: saved(site) == 1, within=20, why=lambda: cluster.log)
            assert begun(site) == ["long"]
            assert cluster.stop() == 0
