"""Recognizes a package that is larger than the server accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import redis
from django_q.exceptions import BrokerUnavailable
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, ResponseError

from django_q_redis.errors import TOO_LARGE, broker_error, converting_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q_redis.client import Client

MIN_LIMIT_BYTES: Final = 1024 * 1024
"""Lowest value of `proto-max-bulk-len`. A server accepts all packages up to this size."""

REPLY_SECONDS: Final = 1.0
"""Time in which a server rejects a size. A server that accepts it sends no reply and waits for the data."""


class sending(converting_errors):  # noqa: N801 - as `converting_errors`
    """Context manager that converts errors of the client to broker errors while packages are sent.

    A server that has read the size of a too large package rejects it and closes the connection. The client is still
    sending, detects the closed connection and drops the reply. So the size alone is sent again, to read the reply.

    Args:
        client: function that returns the client that sends.
        key: key to which the packages are appended.
        packages: packages that are sent.
    """

    def __init__(self, client: Callable[[], Client], key: str, packages: Sequence[str]) -> None:
        self.client = client
        self.key = key
        self.packages = packages

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        """Convert the error."""
        cause = error.__cause__ if isinstance(error, BrokerUnavailable) else error
        if isinstance(cause, redis.ConnectionError):
            size = max(len(package.encode()) for package in self.packages)
            if size > MIN_LIMIT_BYTES and (refused := refusal(self.client(), self.key, size)):
                raise broker_error(refused) from refused
        super().__exit__(_kind, error, _where)


def refusal(client: Client, key: str, size: int) -> ResponseError | None:
    """Return the reply of the server of *key* if it rejects packages of *size* bytes, otherwise None."""
    try:
        announce(pool_of(client, key), size)
    except ResponseError as error:
        return error if TOO_LARGE.search(str(error)) else None
    except (redis.RedisError, RedisClusterException):
        return None  # the server is unavailable, as the first error tells
    return None


def announce(pool: redis.ConnectionPool, size: int) -> None:
    """Send the size of a package on a separate connection, without the package.

    Raises:
        redis.ResponseError: the server rejects it.
        redis.RedisError: the server is unavailable.
    """
    connection = pool.get_connection()
    try:
        connection.send_packed_command([b"*3\r\n$5\r\nRPUSH\r\n$1\r\nq\r\n$%d\r\n" % size])
        if connection.can_read(timeout=REPLY_SECONDS):
            connection.read_response()
    finally:
        connection.disconnect()
        pool.release(connection)


def pool_of(client: Client, key: str) -> redis.ConnectionPool:
    """Return the connection pool of the server that has *key*."""
    if not isinstance(client, RedisCluster):
        return client.connection_pool
    node = client.get_node_from_key(key)
    if node is None:
        raise redis.ConnectionError("no node has the key")
    return client.get_redis_connection(node).connection_pool
