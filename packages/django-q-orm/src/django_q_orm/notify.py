"""What wakes a broker that waits for rows: PostgreSQL's NOTIFY, elsewhere only time."""

from __future__ import annotations

import hashlib
import select
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

SOON = 0.02
"""Seconds before the second look, when there was something a moment ago."""

LONGEST = 4.0
"""Seconds between looks while listening: producers of older versions do not ring."""


class Bell:
    """Rings for the rows of one queue, and knows how long to wait for the next look."""

    def __init__(self, list_key: str, poll: float) -> None:
        self.channel = channel_of(list_key)
        self.poll = poll
        self.pause = SOON
        self._rang = False
        self._missed = False
        self._hearing: Any = None
        self._listens = False

    def ring(self, connection: BaseDatabaseWrapper) -> None:
        """Wake who listens, when the transaction of this connection commits."""
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, '')", [self.channel])

    def found(self) -> None:
        """There was something: look again soon.

        A row that did not ring, because others waited when it was written, may have been committed only after they
        were taken.
        """
        self.pause = SOON

    def missed(self) -> None:
        """A row came that did not ring, after a long silence: somebody writes whom we cannot hear.

        That is an older version, or one beyond a connection pooler; it is looked for more often until it rings.
        """
        self._missed = self._missed or self.pause >= LONGEST

    def next_look(self) -> float:
        """In how many seconds to look again: longer each time, for there was nothing."""
        pause = self.pause
        self.pause = min(pause * 2, LONGEST if self._listens and not self._missed else self.poll)
        return pause

    def wait(self, connection: BaseDatabaseWrapper, seconds: float) -> bool:
        """Wait up to *seconds*; True, and before they are over, when it rang."""
        self._listens = self._listen(connection)
        seconds = max(seconds, 0)
        if not self._listens:
            time.sleep(seconds)
            return False
        if not self._heard() and readable(self._hearing, seconds):
            self._read(connection)
        if rang := self._heard():
            self._rang, self._missed, self.pause = False, False, SOON
        return rang

    def _listen(self, connection: BaseDatabaseWrapper) -> bool:
        if connection.vendor != "postgresql" or connection.in_atomic_block:
            return False
        connection.ensure_connection()
        if self._hearing is not connection.connection:
            with connection.cursor() as cursor:
                cursor.execute(f'LISTEN "{self.channel}"')
            self._hearing = connection.connection
            if hasattr(self._hearing, "add_notify_handler"):
                self._hearing.add_notify_handler(self._hear)
            # Rows that came before we listened did not ring for us.
            self._rang = True
        return True

    def _hear(self, _notification: object) -> None:
        self._rang = True

    def _read(self, connection: BaseDatabaseWrapper) -> None:
        """Let the driver read what has arrived; it finds out here, too, that the server has gone."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    def _heard(self) -> bool:
        # psycopg 2 keeps a list instead of calling a handler.
        kept = getattr(self._hearing, "notifies", None)
        if isinstance(kept, list) and kept:
            kept.clear()
            self._rang = True
        return self._rang


def readable(connection: Any, seconds: float) -> bool:
    """Wait up to *seconds* for something to arrive on a connection of the driver."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def channel_of(list_key: str) -> str:
    """A channel's name, whatever the queue is called."""
    return f"django_q_{hashlib.sha256(list_key.encode()).hexdigest()[:32]}"
