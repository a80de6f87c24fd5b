"""Wakes brokers that wait for rows by NOTIFY of PostgreSQL. Other databases are polled."""

from __future__ import annotations

import hashlib
import math
import select
import time
from typing import TYPE_CHECKING, Any, Final

from django_q.databases.statements import Condition

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

MIN_POLL_SECONDS = 0.02
"""First pause between two polls, after rows were found."""

MAX_POLL_SECONDS = 4.0
"""Maximum pause between two polls while listening. Producers of older versions do not notify."""

RECENT_SECONDS = 1.0
"""Age up to which a row that waits shows that its consumer will poll again."""

ALWAYS: Final = Condition("TRUE", [])
"""Condition of a row that notifies."""

QUIET_SECONDS = MIN_POLL_SECONDS / 4
"""Time for which rows do not notify after one was seen to wait: its consumer polls again soon."""


class Listener:
    """Sends and receives notifications of one queue, and computes the pause before the next poll.

    Args:
        list_key: name of the queue.
        poll: maximum pause between two polls without notifications, in seconds.
    """

    def __init__(self, list_key: str, poll: float) -> None:
        self.list_key = list_key
        self.channel = channel_of(list_key)
        self.poll = poll
        self.pause = MIN_POLL_SECONDS
        self._notified = False
        self._unnotified = False
        self._listening_connection: Any = None
        self._listens = False
        self._last_sent = 0
        """Id of the last row that was sent through this object."""
        self._sent_at = self._waited_at = -math.inf
        """Times at which that row was sent, and at which one was seen to wait (`time.monotonic`)."""

    def is_needed(self, table: str) -> Condition | None:
        """Return the condition in SQL under which a new row of PostgreSQL notifies; None if it need not.

        PostgreSQL commits transactions with notifications one after another. So a row does not notify while the last
        one that was sent here waits: the consumer of that row polls again.

        Args:
            table: quoted name of the table.
        """
        now = time.monotonic()
        if now - self._waited_at < QUIET_SECONDS:
            return None
        if now - self._sent_at > RECENT_SECONDS:
            return ALWAYS
        waits = f"SELECT FROM {table} WHERE id = %s AND lock <= statement_timestamp()"
        return Condition(f"NOT EXISTS ({waits})", [self._last_sent])

    def sent(self, number: int, *, waits: bool) -> None:
        """Note a row that was sent.

        Args:
            number: its id.
            waits: True if the row before it was seen to wait.
        """
        self._last_sent, self._sent_at = number, time.monotonic()
        if waits:
            self._waited_at = self._sent_at

    def notify(self, connection: BaseDatabaseWrapper) -> None:
        """Notify listeners when the transaction of this connection commits."""
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_notify(%s, '')", [self.channel])

    def found(self) -> None:
        """Reset the pause, because rows were found.

        A row that was inserted without a notification, because others waited, may be committed after these were leased.
        """
        self.pause = MIN_POLL_SECONDS

    def found_unnotified(self) -> None:
        """Poll until a notification arrives, if a row arrived without one after a long pause.

        Its producer has an older version, or uses a connection pooler that drops notifications.
        """
        self._unnotified = self._unnotified or self.pause >= MAX_POLL_SECONDS

    def next_pause(self) -> float:
        """Return the seconds before the next poll, and double the pause for the one after it."""
        pause = self.pause
        self.pause = min(pause * 2, MAX_POLL_SECONDS if self._listens and not self._unnotified else self.poll)
        return pause

    def wait(self, connection: BaseDatabaseWrapper, seconds: float) -> bool:
        """Wait up to *seconds* for a notification. Return True as soon as one arrives."""
        self._listens = self._listen(connection)
        seconds = max(seconds, 0)
        if not self._listens:
            time.sleep(seconds)
            return False
        if not self._was_notified() and readable(self._listening_connection, seconds):
            self._read(connection)
        if notified := self._was_notified():
            self._notified, self._unnotified, self.pause = False, False, MIN_POLL_SECONDS
        return notified

    def _listen(self, connection: BaseDatabaseWrapper) -> bool:
        if connection.vendor != "postgresql" or connection.in_atomic_block:
            return False
        connection.ensure_connection()
        if self._listening_connection is not connection.connection:
            with connection.cursor() as cursor:
                cursor.execute(f'LISTEN "{self.channel}"')
            self._listening_connection = connection.connection
            if hasattr(self._listening_connection, "add_notify_handler"):
                self._listening_connection.add_notify_handler(self._on_notification)
            # Rows that were inserted before LISTEN sent no notification to this connection.
            self._notified = True
        return True

    def _on_notification(self, _notification: object) -> None:
        self._notified = True

    def _read(self, connection: BaseDatabaseWrapper) -> None:
        """Let the driver read its socket. It raises an error if the server has closed the connection."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    def _was_notified(self) -> bool:
        # psycopg 2 has a list of notifications instead of a handler.
        kept = getattr(self._listening_connection, "notifies", None)
        if isinstance(kept, list) and kept:
            kept.clear()
            self._notified = True
        return self._notified


def readable(connection: Any, seconds: float) -> bool:
    """Wait up to *seconds* for data on a connection of the driver. Return True if there is some."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def channel_of(list_key: str) -> str:
    """Return the name of a queue's channel, a valid identifier for any queue name."""
    return f"django_q_{hashlib.sha256(list_key.encode()).hexdigest()[:32]}"
