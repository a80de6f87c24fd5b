"""A call to a database that does not answer ends with a database error."""

from __future__ import annotations

import time

import pytest
from django.db import DatabaseError, connections
from django_q.cluster.watchdog import MIN_CONNECT_SECONDS, Wait, Watchdog, limit_connecting
from django_q.databases.errors import is_unavailable

from tests.databases import ask, reachable
from tests.services import Proxy

SLEEP = {"mysql": "SELECT SLEEP(60)", "postgresql": "SELECT pg_sleep(60)"}


@pytest.fixture(params=["postgres", "mariadb"])
def server(request):
    server = request.getfixturevalue(f"{request.param}_server")
    server.start()
    return server


@pytest.fixture
def alias(server, django_db_blocker):
    with django_db_blocker.unblock(), reachable("watched", server.database()) as alias:
        yield alias


@pytest.fixture
def wait(alias):
    wait = Wait(0.2)
    wait.aliases = {alias}
    return wait


@pytest.fixture
def watchdog(wait):
    watchdog = Watchdog("test", wait)
    watchdog.start()
    yield watchdog
    watchdog.stop()
    watchdog.join(5)


def test_call_that_does_not_return_fails(alias, wait, watchdog, caplog):
    began = time.monotonic()
    with pytest.raises(DatabaseError) as caught, wait.limited():
        ask(connections[alias], SLEEP[connections[alias].vendor])
    assert is_unavailable(caught.value)
    assert time.monotonic() - began < 30
    watchdog.stop()
    watchdog.join(5)  # it logs after the cut
    assert "no answer from database 'watched'" in caplog.text
    connections[alias].close()
    assert ask(connections[alias], "SELECT 1") == 1


def test_calls_that_return_are_not_cut(alias, wait, watchdog):
    for _ in range(5):
        with wait.limited():
            ask(connections[alias], "SELECT 1")
        time.sleep(0.1)
    kept = connections[alias].connection
    watchdog.cut(Wait(1.0))
    assert connections[alias].connection is kept


def test_attempt_to_connect_ends(server, django_db_blocker):
    if server.product == "mariadb":
        pytest.skip("PyMySQL limits the connection only, not the first answer")
    with Proxy(server) as proxy, django_db_blocker.unblock():
        database = server.database() | {"HOST": proxy.host, "PORT": str(proxy.port)}
        with reachable("through", database) as alias:
            limit_connecting(connections[alias], 1)
            proxy.stall()
            began = time.monotonic()
            with pytest.raises(DatabaseError):
                connections[alias].ensure_connection()
            assert MIN_CONNECT_SECONDS <= time.monotonic() - began < 30


def test_option_of_the_project_stays(alias):
    connections[alias].settings_dict["OPTIONS"]["connect_timeout"] = 77
    limit_connecting(connections[alias], 1)
    assert connections[alias].settings_dict["OPTIONS"]["connect_timeout"] == 77
