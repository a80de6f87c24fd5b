"""Outages of the broker and of the database, and a database that blocks, while processes are killed."""

from __future__ import annotations

import random
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .ledger import Outage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.services import Postgres, Server

RESULTS_TABLE = "django_q_task"
"""Table that is locked to block the database: workers and the pusher do not need it."""


@dataclass(frozen=True)
class Accident:
    """One thing that happens to a server."""

    name: str
    happen: Callable[[float], Any]
    """Let it last for so many seconds."""
    seconds: tuple[float, float]
    """Shortest and longest duration."""
    leases: bool
    """True if leases cannot be renewed meanwhile."""


class Accidents:
    """Lets one accident after another happen, in a thread of its own.

    Args:
        accidents: what can happen; all of it happens before any of it happens again.
        seed: of every choice made at random.
        pause: shortest and longest time between two accidents, in seconds.
        say: where a line of progress goes.
    """

    def __init__(
        self,
        accidents: list[Accident],
        seed: int,
        *,
        pause: tuple[float, float] = (3, 8),
        say: Callable[[str], Any] = print,
    ) -> None:
        self.accidents, self.pause, self.say = accidents, pause, say
        self.random = random.Random(seed)
        self.outages: list[Outage] = []
        self.error: BaseException | None = None
        self._stop, self._stopped = threading.Event(), threading.Event()

    @property
    def complete(self) -> bool:
        """Whether each accident has happened."""
        if self.error is not None:
            raise self.error
        return {outage.what for outage in self.outages} >= {accident.name for accident in self.accidents}

    @contextmanager
    def happening(self) -> Iterator[None]:
        """Let accidents happen during a block; at its end all servers are there again."""
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
        self.say(f"{outage.what} for {outage.seconds:.1f} s")


def of_redis(broker: Server, database: Postgres, name: str, lease: float, block: float) -> list[Accident]:
    """What happens where tasks wait in Redis and results are in PostgreSQL."""
    short, long = _durations(lease)
    return [
        Accident("short outage of the broker", partial(_outage, broker), short, leases=True),
        Accident("long outage of the broker", partial(_outage, broker), long, leases=True),
        Accident("broker that hangs", partial(_hang, broker), long, leases=True),
        Accident("short outage of the database", partial(_outage, database), short, leases=False),
        Accident("long outage of the database", partial(_outage, database), long, leases=False),
        Accident("database that blocks", partial(_block, database, name), (block, block), leases=False),
    ]


def of_postgres(server: Postgres, name: str, lease: float, block: float) -> list[Accident]:
    """What happens where tasks and results are in PostgreSQL."""
    short, long = _durations(lease)
    return [
        Accident("short outage of broker and database", partial(_outage, server), short, leases=True),
        Accident("long outage of broker and database", partial(_outage, server), long, leases=True),
        Accident("database that blocks", partial(_block, server, name), (block, block), leases=False),
    ]


def _durations(lease: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Durations of outages that no lease notices, and of those that leases do not survive."""
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


def _block(server: Postgres, name: str, seconds: float) -> None:
    """Lock the table of the results, also against readers."""
    import psycopg

    dsn = server.dsn.removesuffix("postgres") + name
    with psycopg.connect(dsn) as connection:
        locked = False
        while not locked:
            with suppress(psycopg.errors.DeadlockDetected), connection.transaction():
                connection.execute(f"LOCK TABLE {RESULTS_TABLE} IN ACCESS EXCLUSIVE MODE".encode())
                locked = True
                time.sleep(seconds)
