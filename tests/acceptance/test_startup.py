"""A cluster waits for its servers, or ends with one line."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import pytest

from tests.services.redis import Redis

from .site import RunningCluster, eventually


@pytest.fixture
def stopped_redis():
    """A Redis server of its own, which has not been started."""
    server = Redis()
    yield server
    server.close()


def problems(text: str) -> list[str]:
    """Lines about a start that waits or fails."""
    return [line for line in text.splitlines() if "waits to start" in line or "CommandError" in line]


def test_cluster_waits_for_the_broker(make_site, stopped_redis):
    site = make_site("sqlite", redis=stopped_redis.url, orm=None)
    cluster = RunningCluster(site, (), {})
    try:
        eventually(lambda: problems(cluster.log), why=lambda: cluster.log)
        assert cluster.process.poll() is None
        stopped_redis.start()
        cluster.wait_until_running()
        assert site.run("from django_q.tasks import *; answer = result(async_task('jobs.mark', 1), 20000)") == 1
        assert len(problems(cluster.log)) == 1, cluster.log
        assert cluster.stop() == 0
    finally:
        cluster.end()


def test_cluster_waits_for_the_database(make_site, postgres_server):
    site = make_site("postgres")
    postgres_server.stop()
    cluster = RunningCluster(site, (), {})
    try:
        eventually(lambda: problems(cluster.log), why=lambda: cluster.log)
        assert "database 'default' cannot be reached" in problems(cluster.log)[0]
        postgres_server.start()
        cluster.wait_until_running()
        assert len(problems(cluster.log)) == 1, cluster.log
    finally:
        cluster.end()
        postgres_server.start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_waiting_cluster_ends_on_a_signal(make_site, number):
    site = make_site("sqlite", redis={"port": 1}, orm=None)
    cluster = RunningCluster(site, (), {})
    try:
        eventually(lambda: problems(cluster.log), why=lambda: cluster.log)
        cluster.signal(number)
        assert cluster.process.wait(10) in (130, -signal.SIGTERM)
        assert "Traceback" not in cluster.log
    finally:
        cluster.end()


def test_fail_fast_exits_with_one_line(make_site):
    site = make_site("sqlite", redis={"port": 1}, orm=None)
    done = site.manage("qcluster", "--fail-fast", "--skip-checks", "--run-once", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "The broker cannot be reached" in done.stderr
    assert "Q_CLUSTER" in done.stderr


@pytest.mark.parametrize("change", ["DROP TABLE django_q_task", "ALTER TABLE django_q_schedule DROP COLUMN zone"])
def test_missing_table_or_column_ends_with_one_line(make_site, change):
    site = make_site("redis")
    with closing(sqlite3.connect(site.folder / "db.sqlite3")) as database:
        database.execute(change)
    done = site.manage("qcluster", "--run-once", check=False)
    assert done.returncode == 1
    assert len(problems(done.stderr)) == 1, done.stderr
    assert "run manage.py migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_queue_table_is_named(make_site):
    site = make_site("sqlite")
    with closing(sqlite3.connect(site.folder / "db.sqlite3")) as database:
        database.execute("DROP TABLE django_q_ormq")
    done = site.manage("qcluster", "--run-once", check=False)
    assert done.returncode == 1
    assert "lacks the table django_q_ormq" in done.stderr
