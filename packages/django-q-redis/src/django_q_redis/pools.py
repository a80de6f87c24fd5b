"""Limited connection pools, for which threads wait in order."""

from __future__ import annotations

import threading
import time
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any

import redis
from redis.cluster import RedisCluster
from redis.sentinel import SentinelConnectionPool

if TYPE_CHECKING:
    from collections.abc import Mapping


class FairQueue(LifoQueue[Any]):
    """A queue that serves threads in the order of their arrival.

    In Python's own queues, a thread that puts an item and gets one at once may starve waiting threads.
    """

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self.turn = threading.Lock()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item.

        Raises:
            queue.Empty: there was none within *timeout* seconds.
        """
        started = time.monotonic()
        if not self.turn.acquire(block, -1 if timeout is None or not block else timeout):
            raise Empty
        try:
            if timeout is not None:
                timeout = max(0.0, timeout - (time.monotonic() - started))
            return super().get(block, timeout)
        finally:
            self.turn.release()


class BlockingSentinelPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to the master that Redis Sentinel reports."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections, or only the idle ones, which blocking pools before redis-py 6 cannot do."""
        if inuse_connections:
            super().disconnect()
            return
        for connection in filter(None, list(self.pool.queue)):
            connection.disconnect()


class BlockingCluster(RedisCluster):
    """A client of a Redis Cluster with a limit of concurrent commands: the maximum number of connections per node.

    Args:
        max_connections: maximum number of connections per node.
        options: other keywords of the client.
    """

    def __init__(self, *, max_connections: int, **options: Any) -> None:
        self._turns = FairQueue()
        for _ in range(max_connections):
            self._turns.put(None)
        self._timeout_seconds = options["socket_timeout"]
        super().__init__(max_connections=max_connections, **options)

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command, after those that wait already.

        Raises:
            redis.ConnectionError: no connection was available within the socket timeout.
        """
        try:
            self._turns.get(timeout=self._timeout_seconds)
        except Empty:
            raise redis.ConnectionError("No connection available.") from None
        try:
            return super().execute_command(*args, **kwargs)
        finally:
            self._turns.put(None)


def blocking_client(**options: Any) -> redis.Redis:
    """Create a client whose threads wait up to `socket_timeout` seconds for a connection.

    Args:
        options: keywords of a connection, and `max_connections`.
    """
    return redis.Redis(connection_pool=redis.BlockingConnectionPool(**options, **blocking_options(options)))


def blocking_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a pool whose threads wait in order."""
    waiting = {"queue_class": FairQueue, "timeout": options["socket_timeout"]}
    return {key: value for key, value in waiting.items() if key not in options}
