"""Connections that are kept for commands."""

from __future__ import annotations

import threading

import pytest
import redis
from django_q_redis import raw_connection
from django_q_redis.raw_connection import RawConnection, connection_of, packed
from redis._parsers import Encoder
from redis.connection import PythonRespSerializer

from tests.forks import in_a_fork


@pytest.fixture
def client(redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_client_keeps_its_raw_connection(client: redis.Redis):
    assert connection_of(client) is connection_of(client)


def test_client_with_a_single_connection_runs_its_commands(redis_url: str):
    class Another(redis.Redis):
        pass

    with Another.from_url(redis_url) as client:
        assert connection_of(client) == client.execute_command


def test_connection_that_the_server_closed_is_replaced(client: redis.Redis):
    run = RawConnection(client)
    number = run("CLIENT", "ID")
    client.client_kill_filter(_id=number)
    assert run("PING") == b"PONG"
    assert run("CLIENT", "ID") != number


def test_fork_uses_another_connection(client: redis.Redis):
    """Use a client in a fork as django-redis does, which shares it with its parent."""
    number = connection_of(client)("CLIENT", "ID")
    assert in_a_fork(lambda: connection_of(client)("CLIENT", "ID") != number)
    assert connection_of(client)("CLIENT", "ID") == number


def test_closed_connection_is_seen_where_the_system_has_no_poll(client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(raw_connection, "HAS_POLL", False)
    test_connection_that_the_server_closed_is_replaced(client)


@pytest.mark.parametrize(
    "command",
    [("PING",), ("RPUSH", "a key", "grüße\r\n", b"\xff\r\n"), ("BLMOVE", 0.01, 5), ("SET", "", "x" * 1_000_000)],
    ids=["one word", "text and bytes", "numbers", "long"],
)
def test_command_is_written_as_the_client_writes_it(command: tuple[str | bytes | float, ...]):
    theirs = PythonRespSerializer(6000, Encoder("utf-8", "strict", False).encode).pack(*command)
    assert b"".join(packed([command])) == b"".join(theirs)


def test_refused_command_leaves_the_connection_as_it_was(client: redis.Redis):
    run = RawConnection(client)
    number = run("CLIENT", "ID")
    with pytest.raises(redis.ResponseError):
        run("LPUSH")
    assert run("CLIENT", "ID") == number


def test_reply_to_an_interrupted_command_is_not_read_by_the_next(client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    run = RawConnection(client)
    run("PING")
    connection = run._idle.get()[0].connection

    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("ECHO", "mine")
    assert run("ECHO", "yours") == b"yours"


def test_threads_do_not_read_each_others_answers(client: redis.Redis):
    run, wrong = RawConnection(client), []

    def echo(name: str) -> None:
        for number in range(200):
            echoed = f"{name} {number}".encode()
            if run("ECHO", echoed) != echoed:
                wrong.append(echoed)

    threads = [threading.Thread(target=echo, args=(str(name),)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_replies_of_a_round_trip_are_in_order(client: redis.Redis):
    assert RawConnection(client).run_all(("ECHO", "one"), ("ECHO", "two")) == [b"one", b"two"]


def test_rejected_command_of_a_round_trip_leaves_no_reply_behind(client: redis.Redis):
    run = RawConnection(client)
    number = run("CLIENT", "ID")
    with pytest.raises(redis.ResponseError, match="lpush"):
        run.run_all(("ECHO", "one"), ("LPUSH",), ("ECHO", "two"))
    assert run("CLIENT", "ID") == number


def test_interrupted_round_trip_leaves_no_reply_behind(client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    run = RawConnection(client)
    run("PING")
    connection = run._idle.get()[0].connection
    read = connection.read_response
    replies = iter([read])

    def interrupted() -> bytes:
        try:
            return next(replies)()
        except StopIteration:
            raise KeyboardInterrupt from None

    with monkeypatch.context() as patch:
        patch.setattr(connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.run_all(("ECHO", "one"), ("ECHO", "two"))
    assert run("ECHO", "yours") == b"yours"


def test_connection_after_a_protocol_error_is_not_used_again(client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    run = connection_of(client)
    for _ in range(100):
        with monkeypatch.context() as patched:
            patched.setattr(raw_connection, "packed", lambda _commands: [b"*2\r\n$4\r\nECHO\r\n$999999999999\r\n"])
            with pytest.raises(redis.ResponseError, match="bulk length"):
                run("ECHO")
        assert run("PING") == b"PONG"
