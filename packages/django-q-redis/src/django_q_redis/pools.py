"""Pools of few connections, for which threads wait in turn."""

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
    """A queue in which a thread that waits is served before one that comes later.

    In Python's own queues, a thread that puts something and takes it again at once leaves nothing to those that wait.
    """

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self.turn = threading.Lock()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an item.

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


class PatientSentinelPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to the master that sentinels name."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections, or those that wait; before redis-py 6, a blocking pool does only the former."""
        if inuse_connections:
            super().disconnect()
            return
        for connection in filter(None, list(self.pool.queue)):
            connection.disconnect()


class PatientCluster(RedisCluster):
    """A client of a Redis Cluster that runs as many commands at a time as each node may have connections.

    Args:
        max_connections: of each node.
        options: other keywords of the client.
    """

    def __init__(self, *, max_connections: int, **options: Any) -> None:
        self._turns = FairQueue()
        for _ in range(max_connections):
            self._turns.put(None)
        self._patience = options["socket_timeout"]
        super().__init__(max_connections=max_connections, **options)

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command when it is its turn.

        Raises:
            redis.ConnectionError: others take too long.
        """
        try:
            self._turns.get(timeout=self._patience)
        except Empty:
            raise redis.ConnectionError("No connection available.") from None
        try:
            return super().execute_command(*args, **kwargs)
        finally:
            self._turns.put(None)


def patient_client(**options: Any) -> redis.Redis:
    """Make a client whose threads wait for a connection, as long as for a silent server.

    Args:
        options: keywords of a connection, and `max_connections`.
    """
    return redis.Redis(connection_pool=redis.BlockingConnectionPool(**options, **patience(options)))


def patience(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a pool whose threads wait."""
    waiting = {"queue_class": FairQueue, "timeout": options["socket_timeout"]}
    return {key: value for key, value in waiting.items() if key not in options}
