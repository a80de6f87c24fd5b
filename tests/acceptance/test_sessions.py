"""Sessions of databases and caches: none is shared between processes, and each task has its own."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from textwrap import dedent

import psutil
import pytest

from tests.services.fixtures import missing

TASKS = 2_000

OPENER = """
    import logging
    import sys
    from django.apps import AppConfig
    from django.core.cache import caches
    from django.db import connection

    cache = caches["default"]  # as modules do that keep it

    class OpenerConfig(AppConfig):
        name = "opener"

        def ready(self):
            if "qcluster" in sys.argv:
                cache.set("opened", 1)
                connection.ensure_connection()

    class OpeningHandler(logging.Handler):
        def emit(self, record):
            cache.set("opened", record.processName)
            caches["default"].set("opened", record.processName)
            connection.ensure_connection()
"""

JOBS = '''
import asyncio
import opener
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.db import connection

def ask(statement, *arguments):
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchone()[0] if cursor.description else None

def answers(number):
    """Ask a database and a cache, also through an object from before the fork."""
    key = f"answer-{number}"
    cache.set(key, number)
    opener.cache.set(key + "-kept", number)
    return ask("SELECT %s::int", number), cache.get(key), opener.cache.get(key + "-kept")

def session(*statements):
    return [ask(statement) for statement in statements]

def forks():
    number = ask("SELECT pg_backend_pid()")
    child = os.fork()
    if not child:
        os._exit(0 if ask("SELECT pg_backend_pid()") != number else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ask("SELECT pg_backend_pid()") == number

async def coroutine_asks():
    from django_q.models import Schedule
    return await Schedule.objects.acount()

def own_loop_asks():
    return asyncio.run(coroutine_asks())
'''


@pytest.fixture
def opening_site(make_site, memcached_server):
    """Make a site whose app opens a database and a cache before the cluster forks."""

    def make(kind, options, **q_cluster):
        site = make_site(kind, **q_cluster)
        (site.folder / "opener.py").write_text(dedent(OPENER))
        with (site.folder / "jobs.py").open("a") as file:
            file.write(JOBS)
        cache = {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": f"{memcached_server.host}:{memcached_server.port}",
            "KEY_PREFIX": site.folder.name,
        }
        with (site.folder / "site_settings.py").open("a") as file:
            file.write(f"INSTALLED_APPS.append('opener.OpenerConfig')\nCACHES = {{'default': {cache!r}}}\n")
            file.write(f"DATABASES['default'].update({options!r})\n")
        return site

    return make


@pytest.fixture
def pool():
    """Options of a database with a connection pool."""
    try:
        import psycopg_pool  # noqa: F401
    except ImportError as error:
        missing("psycopg-pool", error)
    return {"OPTIONS": {"pool": {"min_size": 1, "max_size": 2, "timeout": 20}}}


def run(site, *calls):
    """Send calls in order, and return success and result of each."""
    return site.run(f"""
        from django_q.tasks import async_bulk, fetch
        found = [fetch(task_id, wait=60_000) for task_id in async_bulk({calls!r})]
        answer = [(task.success, task.result) for task in found]
    """)


def test_each_task_gets_its_answer_with_connections_before_fork(opening_site, pool):
    site = opening_site("postgres", pool, save_limit=0)
    with site.cluster() as cluster:
        site.run(f"from django_q.tasks import async_bulk; async_bulk([('jobs.answers', (n,)) for n in range({TASKS})])")
        saved = """
            import time
            from django_q.models import Task
            deadline = time.monotonic() + 120
            while Task.objects.count() < TASKS and time.monotonic() < deadline:
                time.sleep(0.2)
            answer = Task.objects.count()
        """
        assert site.run(saved.replace("TASKS", str(TASKS))) == TASKS, cluster.log[-3000:]
        wrong = """
            from django_q.models import Task
            answer = [str(task.result) for task in Task.objects.all() if task.result != (*task.args * 3,)]
        """
        assert site.run(wrong) == []
        assert run(site, ("jobs.forks",)) == [[True, [0, True]]]
        assert shared_sockets(cluster) == []
        assert "ERROR" not in cluster.log
        assert cluster.stop() == 0


LOGGING = {
    "version": 1,
    "handlers": {"opening": {"class": "opener.OpeningHandler"}, "console": {"class": "logging.StreamHandler"}},
    "loggers": {"django-q": {"handlers": ["opening", "console"], "level": "INFO"}},
}


def test_processes_inherit_nothing_that_a_log_handler_opened(opening_site):
    site = opening_site("postgres", {}, recycle=2)
    with (site.folder / "site_settings.py").open("a") as file:
        file.write(f"LOGGING = {LOGGING!r}\n")
    calls = [("jobs.answers", (number,)) for number in range(20)]
    with site.cluster() as cluster:
        assert run(site, *calls) == [[True, [number] * 3] for number in range(20)]
        assert shared_sockets(cluster) == []
        assert cluster.stop() == 0


def test_processes_of_a_cluster_share_no_connection_to_redis(opening_site):
    site = opening_site("redis", {})
    with site.cluster() as cluster:
        assert run(site, ("jobs.mark", ("a",))) == [[True, "a"]]
        assert shared_sockets(cluster) == []


def shared_sockets(cluster):
    """Return the TCP connections that several processes of a cluster hold."""
    held = Counter()
    for process in cluster.family():
        with suppress(psutil.NoSuchProcess):  # a recycled worker may end meanwhile
            held.update({(each.laddr, each.raddr) for each in process.net_connections("tcp") if each.raddr})
    assert held
    return [connection for connection, count in held.items() if count > 1]


LEAVE = {
    "postgres": (
        "CREATE TEMPORARY TABLE scratch (n int)",
        "SET my.tenant = '7'",
        "SELECT pg_advisory_lock(1)",
        "BEGIN",
    ),
    "sqlite": ("CREATE TEMPORARY TABLE scratch (n int)", "PRAGMA user_version", "BEGIN"),
}
LOOK = {
    "postgres": (
        "SELECT to_regclass('scratch')",
        "SELECT coalesce(current_setting('my.tenant', true), '')",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
        "SELECT now() = statement_timestamp()",
    ),
    "sqlite": ("CREATE TEMPORARY TABLE scratch (n int)", "BEGIN"),
}
CLEAN = {"postgres": [None, "", 0, True], "sqlite": [None, None]}


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_task_leaves_nothing_in_the_session_of_the_next(opening_site, kind):
    site = opening_site(kind, {}, workers=1)
    with site.cluster():
        left, found = run(site, ("jobs.session", LEAVE[kind]), ("jobs.session", LOOK[kind]))
        assert left[0], left
        assert found == [True, CLEAN[kind]]


def test_coroutines_recover_when_the_server_cuts_connections(opening_site):
    site = opening_site("postgres", {"CONN_MAX_AGE": None}, workers=1, ack_failures=True)
    asks = [("jobs.coroutine_asks",), ("jobs.own_loop_asks",)]
    with site.cluster():
        assert run(site, *asks) == [[True, 0], [True, 0]]
        site.run(
            """
            from django.db import connection
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                               " WHERE pid <> pg_backend_pid() AND datname = current_database()")
            """
        )
        run(site, *asks)
        assert run(site, *asks) == [[True, 0], [True, 0]]
