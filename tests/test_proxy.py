"""The proxy holds, drops and cuts connections, and forwards again."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from django_q.testing import eventually

from tests.services import Proxy


@pytest.fixture
def server(redis_server):
    redis_server.start()
    return redis_server


@pytest.fixture
def proxy(server):
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy):
    sockets = []

    def connect():
        sockets.append(socket.create_connection((proxy.host, proxy.port), timeout=5))
        return sockets[-1]

    yield connect
    for each in sockets:
        each.close()


def ask(connection, command="PING"):
    """Return the answer; nothing when the connection is closed or reset."""
    with suppress(ConnectionError):
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(1000).decode().strip()
    return ""


def refused(connect):
    """Return True if a new connection is reset, at once or when it is used."""
    try:
        return ask(connect()) == ""
    except ConnectionError:
        return True


def silent(connection, seconds=0.1):
    """Return True if the connection is open and nothing comes."""
    connection.settimeout(seconds)
    try:
        connection.recv(1000)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def test_proxy_forwards_both_directions(connect):
    connection = connect()
    assert ask(connection) == "+PONG"
    text = "x" * 500_000
    connection.sendall(f"*2\r\n$4\r\nECHO\r\n${len(text)}\r\n{text}\r\n".encode())
    answer = connection.makefile()
    assert [answer.readline().strip(), answer.readline().strip()] == ["$500000", text]


def test_stalled_connections_stay_open_and_go_on_later(proxy, connect, server):
    old = connect()
    assert ask(old) == "+PONG"
    proxy.stall()
    new = connect()
    for each in (old, new):
        each.sendall(b"INCR stalled\r\n")
    assert silent(old)
    assert silent(new)
    assert server.say("EXISTS stalled") == ":0"
    proxy.resume()
    assert {old.recv(100), new.recv(100)} == {b":1\r\n", b":2\r\n"}


def test_muted_proxy_forwards_requests_and_holds_answers(proxy, connect, server):
    connection = connect()
    proxy.mute()
    connection.sendall(b"INCR muted\r\n")
    eventually(lambda: server.say("EXISTS muted") == ":1")
    assert silent(connection)
    proxy.resume()
    assert connection.recv(100) == b":1\r\n"


def test_dropped_connections_leave_open_ones_alone(proxy, connect):
    old = connect()
    assert ask(old) == "+PONG"
    proxy.drop()
    assert refused(connect)
    assert ask(old) == "+PONG"
    proxy.resume()
    assert ask(connect()) == "+PONG"


@pytest.mark.parametrize("stalled", [False, True])
def test_cut_resets_open_connections_also_held_ones(proxy, connect, stalled):
    connection = connect()
    assert ask(connection) == "+PONG"
    if stalled:
        proxy.stall()
    assert proxy.cut() == 1
    assert ask(connection) == ""
    proxy.resume()
    assert ask(connect()) == "+PONG"


def test_closed_connections_are_not_counted(proxy, connect):
    connection = connect()
    assert ask(connection) == "+PONG"
    assert proxy.connections == 1
    connection.close()
    eventually(lambda: proxy.connections == 0)


def test_connection_to_a_stopped_server_is_closed(proxy, connect, server):
    server.stop()
    assert refused(connect)
    server.start()
    assert ask(connect()) == "+PONG"


def test_frozen_connections_are_held_and_new_ones_forwarded(proxy, connect, server):
    old = connect()
    assert ask(old) == "+PONG"
    proxy.freeze()
    old.sendall(b"INCR frozen\r\n")
    assert ask(connect()) == "+PONG"
    proxy.resume()
    assert silent(old)
    assert server.say("EXISTS frozen") == ":0"
    assert proxy.cut() == 2
    assert ask(old) == ""
