"""Each task has its own database session, processes of a cluster keep theirs, and no fork shares one."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache, caches
from django.db import DatabaseError, connections, transaction
from django_q.databases.connections import (
    close_all,
    close_connections,
    drop_all,
    end_sessions,
    forget_database,
    forget_inherited,
    keep_connections,
)
from django_q.testing import eventually

from tests.databases import reachable, sqlite
from tests.forks import in_a_fork
from tests.services.fixtures import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ALIAS = "session"

VENDORS = ("sqlite", "postgres", "mariadb")


@pytest.fixture(autouse=True)
def _unblock(django_db_blocker):
    """Let the tests use their own databases, outside of a transaction."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest) -> Callable[[str], Mapping[str, Any]]:
    """Return the settings of a database on a server of a kind."""
    made: dict[str, Mapping[str, Any]] = {}

    def server(kind: str) -> Mapping[str, Any]:
        if kind not in made:
            made[kind] = request.getfixturevalue(f"{kind}_server").fresh_database()
        return made[kind]

    return server


@pytest.fixture
def database(servers, tmp_path) -> Iterator[Callable[..., Any]]:
    """Return a function that creates the connection of an empty database, of a kind and with more settings."""
    with ExitStack() as stack:

        def make(kind: str, **settings: Any) -> Any:
            entry = sqlite(tmp_path / "session.sqlite3") if kind == "sqlite" else servers(kind)
            connection = connections[stack.enter_context(reachable(ALIAS, {**entry, **settings}))]
            ask(connection, "DROP TABLE IF EXISTS notes")
            connection.close()
            return connection

        yield make


@pytest.fixture
def pooled(database) -> Iterator[Any]:
    """Connection of a PostgreSQL database with a pool of one session."""
    try:
        import psycopg_pool  # noqa: F401
    except ImportError as error:
        missing("psycopg-pool", error)
    connection = database("postgres", OPTIONS={"pool": {"min_size": 1, "max_size": 1, "timeout": 10}})
    yield connection
    connection.close()
    connection.close_pool()


@pytest.fixture
def oracle() -> Iterator[Any]:
    """Oracle database with a pool that has no session yet, because there is no server."""
    try:
        import oracledb  # noqa: F401
    except ImportError as error:
        missing("oracledb", error)
    database = {
        "ENGINE": "django.db.backends.oracle",
        "NAME": "127.0.0.1:1/none",
        "USER": "reader",
        "PASSWORD": "none",
        "OPTIONS": {"pool": {"min": 0, "max": 1}},
    }
    with reachable(ALIAS, database):
        yield connections[ALIAS]
        connections[ALIAS].close_pool()


def ask(connection: Any, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


# between tasks


@pytest.mark.parametrize("kind", VENDORS)
def test_task_gets_a_session_without_earlier_temporary_tables(database, kind):
    connection = database(kind)
    for _ in range(2):
        ask(connection, "CREATE TEMPORARY TABLE scratch (n int)")
        end_sessions()
        assert connection.connection is None


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("max_age", [60, None])
def test_kept_connection_has_no_open_transaction(database, kind, max_age):
    connection = database(kind, CONN_MAX_AGE=max_age)
    ask(connection, "CREATE TABLE notes (n int)")
    session = connection.connection
    ask(connection, "BEGIN")
    ask(connection, "INSERT INTO notes VALUES (1)")
    end_sessions()
    assert connection.connection is session
    assert ask(connection, "SELECT count(*) FROM notes") == 0


def leave_atomic(connection: Any) -> None:
    transaction.atomic(using=ALIAS).__enter__()
    ask(connection, "INSERT INTO notes VALUES (1)")


def leave_savepoint(connection: Any) -> None:
    leave_atomic(connection)
    leave_atomic(connection)


def leave_autocommit_off(connection: Any) -> None:
    connection.set_autocommit(False)
    ask(connection, "INSERT INTO notes VALUES (1)")


def close_in_atomic(connection: Any) -> None:
    leave_atomic(connection)
    connection.close()


def break_atomic(connection: Any) -> None:
    leave_atomic(connection)
    with suppress(DatabaseError):
        ask(connection, "SELECT nonsense")


def lose_session(connection: Any) -> None:
    connection.ensure_connection()
    connection.connection.close()


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("max_age", [0, 60])
@pytest.mark.parametrize(
    "leave", [leave_atomic, leave_savepoint, leave_autocommit_off, close_in_atomic, break_atomic, lose_session]
)
def test_task_works_after_any_state_left_by_another(database, kind, max_age, leave):
    connection = database(kind, CONN_MAX_AGE=max_age)
    ask(connection, "CREATE TABLE notes (n int)")
    end_sessions()
    leave(connection)
    end_sessions()
    with transaction.atomic(using=ALIAS):
        assert ask(connection, "SELECT count(*) FROM notes") == 0
        transaction.on_commit(lambda: None, using=ALIAS)
    assert not connection.in_atomic_block
    assert connection.get_autocommit()


def test_transaction_without_autocommit_is_not_committed(database):
    connection = database("sqlite", CONN_MAX_AGE=60)
    ask(connection, "CREATE TABLE notes (n int)")
    connection.settings_dict["AUTOCOMMIT"] = False
    connection.set_autocommit(False)
    ask(connection, "INSERT INTO notes VALUES (1)")
    end_sessions()
    assert ask(connection, "SELECT count(*) FROM notes") == 0


def test_connection_is_checked_before_the_next_task_uses_it(database):
    connection = database("postgres", CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)
    ask(connection, "SELECT 1")
    end_sessions()
    connection.connection.close()  # like a server that restarts
    assert ask(connection, "SELECT 1") == 1


def test_task_that_uses_no_database_connects_to_none(database, monkeypatch):
    connection = database("sqlite", CONN_MAX_AGE=60)
    ask(connection, "SELECT 1")
    session = connection.connection
    connections[ALIAS].close()
    end_sessions()
    assert connection.connection is None
    ask(connection, "SELECT 1")
    monkeypatch.setattr(connection, "connect", lambda: pytest.fail("connects"))
    end_sessions()
    assert connection.connection is not None
    assert connection.connection is not session


@pytest.mark.parametrize("setting", ["DEBUG", "force_debug_cursor"])
def test_queries_of_a_task_are_forgotten(database, settings, setting):
    connection = database("sqlite", CONN_MAX_AGE=60)
    settings.DEBUG = setting == "DEBUG"
    connection.force_debug_cursor = setting == "force_debug_cursor"
    ask(connection, "SELECT 1")
    assert connection.queries
    end_sessions()
    assert not connection.queries


# pools

LEFT = {
    "a temporary table": ("CREATE TEMPORARY TABLE scratch (n int)", "SELECT to_regclass('scratch')", None),
    "a setting": ("SET my.tenant = '7'", "SELECT coalesce(current_setting('my.tenant', true), '')", ""),
    "a time zone": ("SET TIME ZONE 'Asia/Tokyo'", "SELECT current_setting('TimeZone')", "UTC"),
    "an advisory lock": ("SELECT pg_advisory_lock(1)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0),
    "a role": ("SET ROLE pg_monitor", "SELECT current_user = session_user", True),
    "a transaction": ("BEGIN", "SELECT now() = statement_timestamp()", True),
    "a listener": ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()", 0),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "question", "answer"), LEFT.values(), ids=LEFT)
def test_session_returns_to_its_pool_unchanged(pooled, statement, question, answer):
    assert ask(pooled, question) == answer
    number = ask(pooled, "SELECT pg_backend_pid()")
    ask(pooled, statement)
    end_sessions()
    assert ask(pooled, question) == answer
    assert ask(pooled, "SELECT pg_backend_pid()") == number


def read_only(session: Any) -> None:
    session.autocommit = False
    session.read_only = True
    session.autocommit = True


@pytest.mark.parametrize("spoil", [read_only, lambda session: session.close()], ids=["read-only", "closed"])
def test_working_session_returns_to_its_pool(pooled, spoil):
    pooled.ensure_connection()
    spoil(pooled.connection)
    end_sessions()
    with transaction.atomic(using=ALIAS):
        ask(pooled, "CREATE TABLE notes (n int)")


def test_session_of_a_pool_that_is_closed_is_not_used_again(pooled):
    number = ask(pooled, "SELECT pg_backend_pid()")
    close_connections()
    assert ask(pooled, "SELECT pg_backend_pid()") != number


def test_fork_has_a_pool_of_its_own(pooled):
    number = ask(pooled, "SELECT pg_backend_pid()")
    pooled.close()

    def has_another() -> bool:
        forget_inherited()
        return ask(connections[ALIAS], "SELECT pg_backend_pid()") != number

    assert in_a_fork(has_another)
    assert ask(pooled, "SELECT pg_backend_pid()") == number


def test_fork_has_a_pool_of_its_own_with_oracle(oracle):
    pool = oracle.pool

    def has_another() -> bool:
        forget_inherited()
        return oracle.pool is not pool

    assert in_a_fork(has_another)
    assert oracle.pool is pool
    assert pool.max == 1  # a closed pool raises


def test_closing_all_closes_the_pool_with_oracle(oracle):
    pool = oracle.pool
    close_all()
    with pytest.raises(oracle.Database.InterfaceError):
        _ = pool.max
    assert oracle.pool is not pool


def test_closing_all_closes_the_pool(pooled):
    pooled.ensure_connection()
    pool = pooled.pool
    close_all()
    assert pool.closed
    assert ask(pooled, "SELECT 1") == 1


# forks


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("forget", [forget_inherited, lambda: forget_database(ALIAS)], ids=["all", "one"])
def test_fork_has_its_own_session_and_keeps_that_of_its_parent(database, kind, forget):
    connection = database(kind)
    ask(connection, "CREATE TEMPORARY TABLE scratch (n int)")
    transaction.atomic(using=ALIAS).__enter__()

    def works() -> bool:
        forget()
        assert not connection.in_atomic_block
        ask(connection, "CREATE TEMPORARY TABLE scratch (n int)")
        connection.close()
        return True

    assert in_a_fork(works)
    assert ask(connection, "SELECT count(*) FROM scratch") == 0


@pytest.fixture
def memcached(settings, memcached_server):
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": f"{memcached_server.host}:{memcached_server.port}",
        }
    }


@pytest.mark.usefixtures("memcached")
def test_fork_has_a_cache_of_its_own():
    cache.set("key", "value")
    client = caches["default"]._cache

    def has_another() -> bool:
        forget_inherited()
        return caches["default"]._cache is not client and cache.get("key") == "value"

    assert in_a_fork(has_another)
    assert caches["default"]._cache is client
    assert cache.get("key") == "value"


@pytest.mark.usefixtures("memcached")
def test_closing_all_closes_the_cache(memcached_server):
    cache.set("key", "value")
    before = connections_of(memcached_server)
    close_all()
    eventually(lambda: connections_of(memcached_server) == before - 1)


def connections_of(server: Any) -> int:
    """Return the number of open connections of a memcached."""
    (line,) = (line for line in server.say("stats").splitlines() if "curr_connections" in line)
    return int(line.split()[-1])


# processes of a cluster


def test_process_of_a_cluster_keeps_its_connection(database):
    connection = database("postgres")
    number = ask(connection, "SELECT pg_backend_pid()")
    for _ in range(2):
        keep_connections()
        assert ask(connection, "SELECT pg_backend_pid()") == number


def test_process_of_a_cluster_replaces_a_broken_connection(database):
    connection = database("postgres")
    ask(connection, "SELECT 1")
    keep_connections()
    connection.connection.close()
    assert ask(connection, "SELECT 1") == 1


@pytest.mark.parametrize("kind", VENDORS)
def test_dropping_all_closes_a_connection_in_a_transaction(database, kind):
    connection = database(kind)
    transaction.atomic(using=ALIAS).__enter__()
    ask(connection, "SELECT 1")
    session = connection.connection
    drop_all()
    assert connection.connection is None
    assert not connection.in_atomic_block
    with pytest.raises(connection.Database.Error):
        session.cursor().execute("SELECT 1")


@pytest.mark.usefixtures("memcached")
def test_cache_that_cannot_be_closed_is_dropped(monkeypatch):
    client = caches["default"]
    monkeypatch.setattr(client, "close", raise_os_error)
    drop_all()
    assert caches["default"] is not client


def raise_os_error(*_: object) -> None:
    raise OSError
