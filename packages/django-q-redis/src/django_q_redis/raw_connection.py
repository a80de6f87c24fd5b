"""The short way to a Redis server: the client's connections, without the client.

For a command the client takes as long as the server and the network together: it goes through its pool, its retries and
its metrics each time. A connection that is kept needs none of them.
"""

from __future__ import annotations

import select
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import redis
from django_q.brokers.process_local import ProcessLocal
from django_q.wire.fast_base64 import pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from redis.connection import Connection

LONG = 100_000
"""Bytes from which a word is sent alone or, of a text, in pieces, since to copy it would take longer."""

POOLS = (redis.ConnectionPool, redis.BlockingConnectionPool)
"""Pools whose connections can be used without the client."""

PROTOCOL_ERROR = "Protocol error"
"""Beginning of the replies after which a server closes the connection."""

HAS_POLL = hasattr(select, "poll")
"""Not on Windows, and not under eventlet."""


class Line:
    """Runs commands, of many threads, on connections of the client's pool; each process keeps up to half of them."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        # Others use the pool too: of a small one nothing is kept, and a blocking one has threads that wait for it.
        blocks = isinstance(self._pool, redis.BlockingConnectionPool)
        self._most_idle = 0 if blocks else self._pool.max_connections // 2
        self._idle: ProcessLocal[deque[Kept]] = ProcessLocal(deque)

    def __call__(self, *command: str | bytes | float) -> Any:
        """Run a command and give the server's reply as it is.

        Raises:
            redis.RedisError: what the client would raise; nothing is tried twice.
        """
        return self.flight(command)[0]

    def flight(self, *commands: Sequence[str | bytes | float]) -> list[Any]:
        """Send commands together and give the replies: the server runs each as soon as it has done the one before.

        Raises:
            redis.RedisError: as above; the commands after one that the server refuses are run.
        """
        replies = self.replies(*commands)
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise reply
        return replies

    def replies(self, *commands: Sequence[str | bytes | float]) -> list[Any]:
        """Send commands together and give the replies, refusals among them.

        Raises:
            redis.ConnectionError: the server cannot be reached, or the pool has no connection left.
        """
        idle = self._idle.get()
        try:
            kept = idle.pop()
        except IndexError:
            kept = Kept(self._pool.get_connection())
        try:
            return kept.run(commands)
        finally:
            if len(idle) < self._most_idle:
                idle.append(kept)
            else:
                self._pool.release(kept.connection)


class Kept:
    """A connection that waits for the next command; the server may close it meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._socket: Any = None
        self._look: Any = None

    def run(self, commands: Sequence[Sequence[str | bytes | float]]) -> list[Any]:
        """Send commands and read the replies, refusals among them."""
        connection = self.connection
        if self._stale():
            connection.disconnect()  # to send connects it again
        try:
            connection.send_packed_command(packed(commands))
            return [self._reply() for _ in commands]
        except BaseException:
            connection.disconnect()  # or the next command would read the answer to this one
            raise

    def _reply(self) -> Any:
        try:
            return self.connection.read_response()
        except redis.ResponseError as error:  # the server has answered
            if str(error).startswith(PROTOCOL_ERROR):
                self.connection.disconnect()  # the server is about to, and would not read the next command
            return error

    def _stale(self) -> bool:
        """Whether there is something to read, which can only be the end: as `can_read`, in a third of the time."""
        socket = getattr(self.connection, "_sock", None)
        if socket is None:
            return False
        if socket is not self._socket:
            self._socket, self._look = socket, looker(socket)
        return bool(self._look())


def looker(socket: Any) -> Callable[[], object]:
    """Give what tells, at once, whether a socket has something to read."""
    if not HAS_POLL:
        return lambda: select.select([socket], [], [], 0)[0]
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return partial(poll.poll, 0)


def packed(commands: Sequence[Sequence[str | bytes | float]]) -> Iterable[bytes]:
    """Write commands as the protocol has them, in a third of the time that the client takes, or less."""
    parts: list[bytes | str] = []
    long = False
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            data: bytes | str
            if isinstance(word, bytes):
                data = word
            elif isinstance(word, str):  # of ASCII a text has as many bytes as letters
                data = word.encode() if len(word) <= LONG or not word.isascii() else word
            else:
                data = str(word).encode()
            if len(data) > LONG:
                long = True
                parts += (b"$%d\r\n" % len(data), data, b"\r\n")
            else:
                parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return in_pieces(parts) if long else [b"".join(cast("list[bytes]", parts))]


def in_pieces(parts: Sequence[bytes | str]) -> Iterator[bytes]:
    """Put short parts together, and long texts in pieces: for the system to find memory takes longer than to copy."""
    short: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes) and len(part) <= LONG:
            short.append(part)
            continue
        yield b"".join(short)
        short.clear()
        if isinstance(part, bytes):
            yield part
        else:
            yield from pieces(part)
    yield b"".join(short)


_lines: WeakKeyDictionary[Any, Line] = WeakKeyDictionary()


def in_one_flight(client: Any, *commands: Sequence[str | bytes | float]) -> list[Any]:
    """Run commands for *client* one after another, on a line in one flight."""
    run = line_of(client)
    return run.flight(*commands) if isinstance(run, Line) else [run(*command) for command in commands]


def line_of(client: Any) -> Callable[..., Any]:
    """Give what runs commands for *client*: a line, or the client itself where its own ways with connections matter."""
    if type(client) is not redis.Redis or type(client.connection_pool) not in POOLS:
        return client.execute_command
    try:
        return _lines[client]
    except KeyError:
        return _lines.setdefault(client, Line(client))
