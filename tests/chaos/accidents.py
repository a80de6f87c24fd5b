"""Accidents of the broker, of the database and of the cache, while processes are killed."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .ledger import Outage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.services import Postgres, Proxy, Redis, Server

RESULTS_TABLE = "django_q_task"
"""Table that is locked to block the database: workers and the pusher do not need it."""

QUEUE_TABLE = "django_q_ormq"
"""Table that is locked to block the database broker."""


@dataclass(frozen=True)
class Accident:
    """One thing that happens to a server."""

    name: str
    happen: Callable[[float], Any]
    """Causes it for so many seconds."""
    seconds: tuple[float, float]
    """Shortest and longest duration."""
    leases: bool
    """True if leases cannot be renewed meanwhile."""


class Accidents:
    """Lets one accident after another happen, in a thread of its own.

    Args:
        accidents: what can happen. Each happens once before any of them happens again.
        seed: of every choice made at random.
        count: minimum number of accidents; None for each of them once.
        pause: shortest and longest time between two accidents, in seconds.
        say: called with each line of progress.
    """

    def __init__(
        self,
        accidents: list[Accident],
        seed: int,
        *,
        count: int | None = None,
        pause: tuple[float, float] = (3, 8),
        say: Callable[[str], Any] = print,
    ) -> None:
        self.accidents, self.pause, self.say = accidents, pause, say
        self.count = len(accidents) if count is None else count
        self.random = random.Random(seed)
        self.outages: list[Outage] = []
        self.error: BaseException | None = None
        self._stop, self._stopped = threading.Event(), threading.Event()

    @property
    def complete(self) -> bool:
        """True if enough accidents have happened."""
        if self.error is not None:
            raise self.error
        return len(self.outages) >= self.count

    @contextmanager
    def happening(self) -> Iterator[None]:
        """Cause accidents during a block. At its end, all servers are available."""
        threading.Thread(target=self._run, name="accidents", daemon=True).start()
        try:
            yield
        finally:
            self._stop.set()
            self._stopped.wait()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for accident in self.random.sample(self.accidents, len(self.accidents)):
                    if not self._stop.wait(self.random.uniform(*self.pause)):
                        self._happen(accident)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self.error = error
        self._stopped.set()
        threading.Event().wait()  # Linux kills a server as soon as the thread that started it ends.

    def _happen(self, accident: Accident) -> None:
        began = time.time()
        accident.happen(self.random.uniform(*accident.seconds))
        outage = Outage(accident.name, began, time.time(), leases=accident.leases)
        self.outages.append(outage)
        self.say(f"{outage}")


class Link(NamedTuple):
    """A server and the proxy through which the site reaches it."""

    server: Any
    proxy: Proxy


def of_redis(broker: Link, database: Link, cache: Link, name: str, lease: float, block: float) -> list[Accident]:
    """Accidents of a run with tasks in Redis and results in PostgreSQL."""
    _, long = _durations(lease)
    return [
        *_of_server("the broker", broker, lease, leases=True),
        Accident("broker that hangs", partial(_hang, broker.server), long, leases=True),
        Accident("broker without memory", partial(_without_memory, broker.server), long, leases=True),
        Accident("broker that is a replica", partial(_replica, broker.server), long, leases=True),
        *_of_server("the database", database, lease, leases=False),
        *_of_database(database.server, name, lease, leases=False),
        Accident("database that blocks", partial(_block, database.server, name, RESULTS_TABLE), (block, block), False),
        *_of_connections("the cache", cache.proxy, lease, leases=False),
    ]


def of_postgres(both: Link, cache: Link, name: str, lease: float, block: float) -> list[Accident]:
    """Accidents of a run with tasks and results in PostgreSQL."""
    server = both.server
    return [
        *_of_server("broker and database", both, lease, leases=True),
        *_of_database(server, name, lease, leases=True),
        Accident("database that blocks", partial(_block, server, name, RESULTS_TABLE), (block, block), leases=False),
        Accident("queue that blocks", partial(_block, server, name, QUEUE_TABLE), (block, block), leases=True),
        *_of_connections("the cache", cache.proxy, lease, leases=False),
    ]


def _of_server(what: str, link: Link, lease: float, *, leases: bool) -> list[Accident]:
    short, long = _durations(lease)
    return [
        Accident(f"short outage of {what}", partial(_outage, link.server), short, leases),
        Accident(f"long outage of {what}", partial(_outage, link.server), long, leases),
        *_of_connections(what, link.proxy, lease, leases=leases),
    ]


def _of_connections(what: str, proxy: Proxy, lease: float, *, leases: bool) -> list[Accident]:
    short, long = _durations(lease)
    return [
        Accident(f"stalled connections to {what}", partial(_stall, proxy), long, leases),
        Accident(f"dropped connections to {what}", partial(_drop, proxy), long, leases),
        Accident(f"dead connections to {what}", partial(_freeze, proxy), long, leases),
        Accident(f"cut connections to {what}", partial(_cut, proxy), short, leases),
    ]


def _of_database(server: Postgres, name: str, lease: float, *, leases: bool) -> list[Accident]:
    short, long = _durations(lease)
    return [
        Accident("database that is read-only", partial(_read_only, server), long, leases),
        Accident("terminated sessions", partial(_terminate, server, name), short, leases),
    ]


def _durations(lease: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the durations of outages that end no lease, and of those that end leases."""
    return (0, lease / 10), (lease + 1, lease * 2)


def _outage(server: Server, seconds: float) -> None:
    server.stop()
    try:
        time.sleep(seconds)
    finally:
        server.start()


def _hang(server: Server, seconds: float) -> None:
    server.pause()
    try:
        time.sleep(seconds)
    finally:
        server.resume()


def _stall(proxy: Proxy, seconds: float) -> None:
    proxy.stall()
    try:
        time.sleep(seconds)
    finally:
        proxy.resume()


def _drop(proxy: Proxy, seconds: float) -> None:
    """Reset new connections, and once those that are open."""
    proxy.drop()
    proxy.cut()
    try:
        time.sleep(seconds)
    finally:
        proxy.resume()


def _freeze(proxy: Proxy, seconds: float) -> None:
    """Hold the open connections, while new ones work."""
    proxy.freeze()
    try:
        time.sleep(seconds)
    finally:
        proxy.cut()


def _cut(proxy: Proxy, seconds: float) -> None:
    proxy.cut()
    time.sleep(seconds)
    proxy.cut()


def _without_memory(server: Redis, seconds: float) -> None:
    server.say("CONFIG SET maxmemory 1")
    try:
        time.sleep(seconds)
    finally:
        server.say("CONFIG SET maxmemory 0")


def _replica(server: Redis, seconds: float) -> None:
    """Make it the replica of a primary that cannot be reached: it refuses writes."""
    server.say("REPLICAOF 127.0.0.1 1")
    try:
        time.sleep(seconds)
    finally:
        server.say("REPLICAOF NO ONE")


def _read_only(server: Postgres, seconds: float) -> None:
    """Make open and new sessions read-only, as those of a primary that has become a replica."""
    _configure(server, "ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        time.sleep(seconds)
    finally:
        _configure(server, "ALTER SYSTEM RESET default_transaction_read_only")


def _configure(server: Postgres, statement: str) -> None:
    import psycopg

    with psycopg.connect(server.dsn, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(statement.encode())
        connection.execute("SELECT pg_reload_conf()")


def _terminate(server: Postgres, name: str, seconds: float) -> None:
    """Terminate all sessions, and those that come meanwhile."""
    import psycopg

    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for pause in (seconds, 0):
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            time.sleep(pause)


def _block(server: Postgres, name: str, table: str, seconds: float) -> None:
    """Lock a table, also against readers."""
    import psycopg

    dsn = server.dsn.removesuffix("postgres") + name
    with psycopg.connect(dsn) as connection:
        locked = False
        while not locked:
            with suppress(psycopg.errors.DeadlockDetected), connection.transaction():
                connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
                locked = True
                time.sleep(seconds)
