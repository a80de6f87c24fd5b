"""Watchdog for database calls: cuts connections to a server that does not answer."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from django_q.log import messages as log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

CONNECT_TIMEOUT_VENDORS: Final = {"mysql", "postgresql"}
"""Values of `connection.vendor` whose drivers have the option `connect_timeout`."""

MIN_CONNECT_SECONDS, MAX_CONNECT_SECONDS = 2, 10
"""Limits of `connect_timeout`, a whole number. The minimum of PostgreSQL's library is 2."""

CYCLE_SECONDS: Final = 1.0
"""Interval of the checks."""


class Wait:
    """Database calls of one thread.

    Args:
        longest: time after which its connections are cut, in seconds.
    """

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.aliases: set[str] = set()
        """Aliases of the databases that the thread may call."""
        self.since = 0.0
        """Start of the call (`time.monotonic`, seconds); 0.0 while the thread does not wait."""
        self.connections: list[BaseDatabaseWrapper] = []

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Limit the time of the database calls in the block. A call without answer raises a database error."""
        self.connections = [connections[alias] for alias in self.aliases]
        for connection in self.connections:
            limit_connecting(connection, self.longest)
        self.since = time.monotonic()
        try:
            yield
        finally:
            self.since = 0.0

    @property
    def seconds(self) -> float:
        """Duration of the current call in seconds; 0.0 if the thread does not wait."""
        since = self.since  # read once: the thread may end its wait in between
        return time.monotonic() - since if since else 0.0


def limit_connecting(connection: BaseDatabaseWrapper, seconds: float) -> None:
    """Set `connect_timeout` to at most half of *seconds*, unless the settings define it."""
    if connection.vendor in CONNECT_TIMEOUT_VENDORS:
        limit = max(MIN_CONNECT_SECONDS, min(MAX_CONNECT_SECONDS, int(seconds / 2)))
        connection.settings_dict["OPTIONS"].setdefault("connect_timeout", limit)


class Watchdog(threading.Thread):
    """Cuts connections to a server that accepts requests and does not answer, for instance behind a broken network.

    The waiting thread gets an error, as if the server had closed the connection, and keeps its outcomes in memory. The
    sentinel could only kill the whole process.

    Args:
        name: name of the process, for the log.
        *waits: waits of its threads.
    """

    def __init__(self, name: str, *waits: Wait) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.process_name, self.waits = name, waits
        self.cycle = min(CYCLE_SECONDS, *(wait.longest / 4 for wait in waits))
        self.ended = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self.ended.set()

    def run(self) -> None:
        """Check until the process ends."""
        while not self.ended.wait(self.cycle):
            for wait in self.waits:
                if wait.seconds > wait.longest:
                    self.cut(wait)

    def cut(self, wait: Wait) -> None:
        """Cut the connections of a thread that has waited for too long."""
        for wrapper in wait.connections:
            try:
                if shut_down(wrapper.connection):
                    log.process.connection_closed(self.process_name, wrapper.alias, wait.seconds)
            except Exception as error:  # noqa: BLE001 - drivers have their own errors; the thread may have closed it
                log.process.connection_not_closed(self.process_name, wrapper.alias, error)


def shut_down(driver: Any) -> bool:
    """Shut down the socket of a driver's connection, so that the thread that waits for it gets an error.

    Returns:
        False if there is no socket.
    """
    holder = driver if hasattr(driver, "fileno") else getattr(driver, "_sock", None)  # PyMySQL has no method for it
    if holder is None:
        return False
    with socket.socket(fileno=os.dup(holder.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
    return True
