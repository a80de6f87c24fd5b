"""Runs commands on connections of a Redis client, without the overhead of the client.

Per command, the client needs as much time as server and network together: for its pool, its retries and its metrics. A
connection that is kept needs none of them.
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

LONG_WORD_BYTES = 100_000
"""Size from which a word is sent separately, and a text in pieces, because copying it would take longer."""

POOLS = (redis.ConnectionPool, redis.BlockingConnectionPool)
"""Pools whose connections can be used without the client."""

PROTOCOL_ERROR = "Protocol error"
"""Prefix of the replies after which a server closes the connection."""

HAS_POLL = hasattr(select, "poll")
"""False on Windows and with eventlet."""


class RawConnection:
    """Runs commands of any thread on connections of the client's pool. Each process keeps up to half of them.

    Args:
        client: client with a pool in `POOLS`.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        # Other code uses the pool, too: a small pool needs all connections, and threads wait for a blocking one.
        blocks = isinstance(self._pool, redis.BlockingConnectionPool)
        self._max_idle = 0 if blocks else self._pool.max_connections // 2
        self._idle: ProcessLocal[deque[KeptConnection]] = ProcessLocal(deque)

    def __call__(self, *command: str | bytes | float) -> Any:
        """Run a command and return the unchanged reply of the server.

        Raises:
            redis.RedisError: the error that the client would raise. The command is not repeated.
        """
        return self.run_all(command)[0]

    def run_all(self, *commands: Sequence[str | bytes | float]) -> list[Any]:
        """Send commands in one round trip and return the replies. The server runs one after another.

        Raises:
            redis.RedisError: one failed. Commands after one that the server rejects are run nevertheless.
        """
        replies = self.replies(*commands)
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise reply
        return replies

    def replies(self, *commands: Sequence[str | bytes | float]) -> list[Any]:
        """Send commands in one round trip and return the replies, including errors.

        Raises:
            redis.ConnectionError: the server is unavailable, or the pool has no free connection.
        """
        idle = self._idle.get()
        try:
            kept = idle.pop()
        except IndexError:
            kept = KeptConnection(self._pool.get_connection())
        try:
            return kept.run(commands)
        finally:
            if len(idle) < self._max_idle:
                idle.append(kept)
            else:
                self._pool.release(kept.connection)


class KeptConnection:
    """A connection that is kept for the next command. The server may close it meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._socket: Any = None
        self._has_data: Any = None

    def run(self, commands: Sequence[Sequence[str | bytes | float]]) -> list[Any]:
        """Send commands and return the replies, including errors."""
        connection = self.connection
        if self._stale():
            connection.disconnect()  # sending connects it again
        try:
            connection.send_packed_command(packed(commands))
            return [self._reply() for _ in commands]
        except BaseException:
            connection.disconnect()  # otherwise, the next command would read the reply to this one
            raise

    def _reply(self) -> Any:
        try:
            return self.connection.read_response()
        except redis.ResponseError as error:  # the server has answered
            if str(error).startswith(PROTOCOL_ERROR):
                self.connection.disconnect()  # the server closes it, and would not read the next command
            return error

    def _stale(self) -> bool:
        """Return True if the socket has data, which can only be its end. `can_read` takes three times as long."""
        socket = getattr(self.connection, "_sock", None)
        if socket is None:
            return False
        if socket is not self._socket:
            self._socket, self._has_data = socket, data_check(socket)
        return bool(self._has_data())


def data_check(socket: Any) -> Callable[[], object]:
    """Return a function that returns true, without waiting, if a socket has data."""
    if not HAS_POLL:
        return lambda: select.select([socket], [], [], 0)[0]
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return partial(poll.poll, 0)


def packed(commands: Sequence[Sequence[str | bytes | float]]) -> Iterable[bytes]:
    """Encode commands for the protocol, in at most a third of the time of the client."""
    parts: list[bytes | str] = []
    long = False
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            data: bytes | str
            if isinstance(word, bytes):
                data = word
            elif isinstance(word, str):  # an ASCII text has as many bytes as characters
                data = word.encode() if len(word) <= LONG_WORD_BYTES or not word.isascii() else word
            else:
                data = str(word).encode()
            if len(data) > LONG_WORD_BYTES:
                long = True
                parts += (b"$%d\r\n" % len(data), data, b"\r\n")
            else:
                parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return in_pieces(parts) if long else [b"".join(cast("list[bytes]", parts))]


def in_pieces(parts: Sequence[bytes | str]) -> Iterator[bytes]:
    """Join short parts and split long texts, because large allocations take longer than copying."""
    short: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes) and len(part) <= LONG_WORD_BYTES:
            short.append(part)
            continue
        yield b"".join(short)
        short.clear()
        if isinstance(part, bytes):
            yield part
        else:
            yield from pieces(part)
    yield b"".join(short)


_raw_connections: WeakKeyDictionary[Any, RawConnection] = WeakKeyDictionary()


def in_one_round_trip(client: Any, *commands: Sequence[str | bytes | float]) -> list[Any]:
    """Run commands for *client* in order, on a raw connection in one round trip."""
    run = connection_of(client)
    return run.run_all(*commands) if isinstance(run, RawConnection) else [run(*command) for command in commands]


def connection_of(client: Any) -> Callable[..., Any]:
    """Return the function that runs commands for *client*: a raw connection, or its own method for other classes."""
    if type(client) is not redis.Redis or type(client.connection_pool) not in POOLS:
        return client.execute_command
    try:
        return _raw_connections[client]
    except KeyError:
        return _raw_connections.setdefault(client, RawConnection(client))
