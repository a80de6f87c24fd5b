"""The kept connections of a client."""

from __future__ import annotations

import os
import threading

import pytest
import redis
from django_q_redis import raw_connection
from django_q_redis.raw_connection import Line, line_of, packed
from redis._parsers import Encoder
from redis.connection import PythonRespSerializer


@pytest.fixture
def client(redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_client_keeps_its_line(client: redis.Redis):
    assert line_of(client) is line_of(client)


def test_client_with_one_connection_of_its_own_runs_its_commands_itself(redis_url: str):
    class Another(redis.Redis):
        pass

    with Another.from_url(redis_url) as client:
        assert line_of(client) == client.execute_command


def test_connection_that_the_server_closed_meanwhile_is_made_again(client: redis.Redis):
    run = Line(client)
    number = run("CLIENT", "ID")
    client.client_kill_filter(_id=number)
    assert run("PING") == b"PONG"
    assert run("CLIENT", "ID") != number


def test_fork_uses_another_connection(client: redis.Redis):
    """The client of django-redis is the same in a fork, unlike our own."""
    number = line_of(client)("CLIENT", "ID")
    child = os.fork()
    if not child:
        status = 1
        try:
            status = int(line_of(client)("CLIENT", "ID") == number)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert line_of(client)("CLIENT", "ID") == number


def test_closed_connection_is_seen_where_the_system_has_no_poll(client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(raw_connection, "HAS_POLL", False)
    test_connection_that_the_server_closed_meanwhile_is_made_again(client)


@pytest.mark.parametrize(
    "command",
    [("PING",), ("RPUSH", "a key", "grüße\r\n", b"\xff\r\n"), ("BLMOVE", 0.01, 5), ("SET", "", "x" * 1_000_000)],
    ids=["one word", "text and bytes", "numbers", "long"],
)
def test_command_is_written_as_the_client_writes_it(command: tuple[str | bytes | float, ...]):
    theirs = PythonRespSerializer(6000, Encoder("utf-8", "strict", False).encode).pack(*command)
    assert b"".join(packed([command])) == b"".join(theirs)


def test_refused_command_leaves_the_connection_as_it_was(client: redis.Redis):
    run = Line(client)
    number = run("CLIENT", "ID")
    with pytest.raises(redis.ResponseError):
        run("LPUSH")
    assert run("CLIENT", "ID") == number


def test_answer_that_nobody_waited_for_is_nobody_elses(client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    run = Line(client)
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
    run, wrong = Line(client), []

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


def test_flight_brings_all_replies_in_order(client: redis.Redis):
    assert Line(client).flight(("ECHO", "one"), ("ECHO", "two")) == [b"one", b"two"]


def test_refused_command_of_a_flight_leaves_no_reply_behind(client: redis.Redis):
    run = Line(client)
    number = run("CLIENT", "ID")
    with pytest.raises(redis.ResponseError, match="lpush"):
        run.flight(("ECHO", "one"), ("LPUSH",), ("ECHO", "two"))
    assert run("CLIENT", "ID") == number


def test_interrupted_flight_leaves_no_reply_behind(client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    run = Line(client)
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
            run.flight(("ECHO", "one"), ("ECHO", "two"))
    assert run("ECHO", "yours") == b"yours"


def test_connection_that_the_server_is_about_to_close_is_not_used_again(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
):
    run = line_of(client)
    for _ in range(100):
        with monkeypatch.context() as patched:
            patched.setattr(raw_connection, "packed", lambda _commands: [b"*2\r\n$4\r\nECHO\r\n$999999999999\r\n"])
            with pytest.raises(redis.ResponseError, match="bulk length"):
                run("ECHO")
        assert run("PING") == b"PONG"
