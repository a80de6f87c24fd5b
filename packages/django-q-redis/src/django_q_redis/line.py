"""The short way to a Redis server: the client's connections, without the client.

For a command the client takes as long as the server and the network together: it goes through its pool, its retries and
its metrics each time. A connection that is kept needs none of them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.connection import ConnectionInterface


class Line:
    """Runs commands, of many threads, on connections that it takes from the client's pool and keeps."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._idle: deque[ConnectionInterface] = deque()

    def __call__(self, *command: str | bytes | float) -> Any:
        """Run a command and give the server's reply as it is.

        Raises:
            redis.RedisError: what the client would raise; nothing is tried twice.
        """
        connection = self._take()
        try:
            connection.send_command(*command)
            return connection.read_response()
        except redis.ResponseError:  # the server has answered
            raise
        except BaseException:
            connection.disconnect()  # or the next command would read the answer to this one
            raise
        finally:
            self._idle.append(connection)

    def flight(self, *commands: tuple[str | bytes | float, ...]) -> list[Any]:
        """Send commands together and give the replies: the server runs each as soon as it has done the one before.

        Raises:
            redis.RedisError: as above; the commands after one that the server refuses are run.
        """
        connection = self._take()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            replies = [_reply_of(connection) for _ in commands]
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._idle.append(connection)
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise reply
        return replies

    def _take(self) -> ConnectionInterface:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._pool.get_connection()
        try:
            stale = connection.can_read(timeout=0)
        except (redis.ConnectionError, redis.TimeoutError):
            stale = True
        if stale:  # the server has closed it; to send connects it again
            connection.disconnect()
        return connection


def _reply_of(connection: ConnectionInterface) -> Any:
    """The next reply, which may be a refusal."""
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


_lines: WeakKeyDictionary[Any, Line] = WeakKeyDictionary()


def in_one_flight(client: Any, *commands: tuple[str | bytes | float, ...]) -> list[Any]:
    """Run commands for *client* one after another, on a line in one flight."""
    run = line_of(client)
    return run.flight(*commands) if isinstance(run, Line) else [run(*command) for command in commands]


def line_of(client: Any) -> Callable[..., Any]:
    """Give what runs commands for *client*: a line, or the client itself where its own ways with connections matter."""
    if type(client) is not redis.Redis or type(client.connection_pool) is not redis.ConnectionPool:
        return client.execute_command
    try:
        return _lines[client]
    except KeyError:
        return _lines.setdefault(client, Line(client))
