"""States in which a Redis refuses commands, as context managers. At their end, it is as before."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.services.redis import Redis

MISSING_MASTER: Final = "127.0.0.1 1"
"""Address of a master that does not exist."""


def admin(server: Redis, **options: Any) -> Any:
    """Return a client that keeps its connection."""
    return redis.Redis(host=server.host, port=server.port, single_connection_client=True, **options)


def cut(client: Any) -> None:
    """Close the connections of all others."""
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@contextmanager
def out_of_memory(server: Redis) -> Iterator[None]:
    """OOM: it uses more memory than it may."""
    with admin(server) as client, changed(client, maxmemory="1"):
        yield


@contextmanager
def without_disk(server: Redis) -> Iterator[None]:
    """MISCONF: it cannot save its data."""
    with admin(server) as client:
        folder = client.config_get("dir")["dir"]
        with changed(client, save="3600 1000000"):
            client.config_set("dir", "/proc")
            client.bgsave()
            until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
            try:
                yield
            finally:
                client.config_set("dir", folder)
                client.bgsave()
                until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")


@contextmanager
def without_replicas(server: Redis) -> Iterator[None]:
    """NOREPLICAS: too few replicas are connected."""
    with admin(server) as client, changed(client, **{"min-replicas-to-write": "1"}):
        yield


@contextmanager
def replica(server: Redis) -> Iterator[None]:
    """READONLY: it is the replica of a master that does not exist."""
    with admin(server) as client:
        client.execute_command(f"REPLICAOF {MISSING_MASTER}")
        try:
            yield
        finally:
            client.execute_command("REPLICAOF NO ONE")


@contextmanager
def replica_without_data(server: Redis) -> Iterator[None]:
    """MASTERDOWN: it is such a replica, and does not answer with old data."""
    with admin(server) as client, changed(client, **{"replica-serve-stale-data": "no"}), replica(server):
        yield


@contextmanager
def busy(server: Redis) -> Iterator[None]:
    """BUSY: it runs a script that does not end."""
    with admin(server) as client, changed(client, **{"busy-reply-threshold": "1"}):
        runner = threading.Thread(target=run_without_end, args=(server,))
        runner.start()
        until(lambda: "BUSY" in server.say("PING"))
        try:
            yield
        finally:
            client.script_kill()
            runner.join()


@contextmanager
def loading(server: Redis) -> Iterator[None]:
    """LOADING: it reads its data, until it is killed and started again."""
    with admin(server) as client:
        client.mset({f"filling {number}": "" for number in range(5000)})
        client.save()
        client.config_set("key-load-delay", 500)
        client.config_set("loading-process-events-interval-bytes", 1024)
    reloader = threading.Thread(target=server.say, args=["DEBUG RELOAD NOSAVE"])
    reloader.start()
    until(lambda: "LOADING" in server.say("PING"))
    try:
        yield
    finally:
        server.kill()
        reloader.join()
        server.start()
        with admin(server) as client:
            client.delete(*(f"filling {number}" for number in range(5000)))


@contextmanager
def full_of_clients(server: Redis) -> Iterator[None]:
    """It accepts no more connections, and has closed those of others."""
    with admin(server) as client, changed(client, maxclients="1"):
        cut(client)
        yield


@contextmanager
def with_a_password(server: Redis) -> Iterator[None]:
    """NOAUTH: it needs a password since a moment ago, and has closed its connections."""
    with admin(server) as client, changed(client, requirepass="new"):
        cut(client)
        yield


@contextmanager
def changed(client: Any, **options: str) -> Iterator[None]:
    """Change settings until the end of the block."""
    before = {name: client.config_get(name)[name] for name in options}
    for name, value in options.items():
        client.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


def run_without_end(server: Redis) -> None:
    """Run a script until it is killed."""
    with admin(server, socket_timeout=None) as client, suppress(redis.RedisError):
        client.eval("while true do end", 0)


def until(true: Callable[[], object], within: float = 20) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "the server does not reach the state"
        time.sleep(0.01)


REFUSALS: Final = {
    "MISCONF": without_disk,
    "NOREPLICAS": without_replicas,
    "READONLY": replica,
    "MASTERDOWN": replica_without_data,
    "BUSY": busy,
    "LOADING": loading,
    "max number of clients": full_of_clients,
    "NOAUTH": with_a_password,
}
"""States of a server by their answer. In `out_of_memory`, the server still executes commands that free memory."""
