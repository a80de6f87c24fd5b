"""Tells the time of the server, by which leases and delays end: clocks of clients may differ."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django_q import clock
from django_q.brokers.process_local import ProcessLocal

from django_q_mongo import documents
from django_q_mongo.errors import reaching

if TYPE_CHECKING:
    from django_q_mongo.client import Client

MEASURE_SECONDS: Final = 10.0
"""Seconds after which the server is asked again: its clock, or the primary, may have changed."""

RESOLUTION: Final = timedelta(milliseconds=1)
"""Steps in which the server tells its time."""


class ServerClock:
    """The server's clock, asked now and then; the seconds in between are counted by the monotonic clock."""

    def __init__(self) -> None:
        self._due_at = -math.inf
        self._start = datetime.min.replace(tzinfo=UTC)
        """Time of the server's clock when the monotonic one showed 0."""

    def now(self, client: Client) -> datetime:
        """Return this moment by the clock of the server of *client*.

        Raises:
            BrokerUnavailable: the server cannot be asked.
        """
        if clock.monotonic() >= self._due_at:
            with reaching():
                self._measure(client)
        return self._start + timedelta(seconds=clock.monotonic())

    def _measure(self, client: Client) -> None:
        asked = clock.monotonic()
        told = told_by(client)
        answered = clock.monotonic()
        latest = told + timedelta(seconds=answered - asked) + RESOLUTION
        # A reading that agrees with the answer is kept: packages of one process keep their order.
        if not told <= self._start + timedelta(seconds=answered) <= latest:
            self._start = told + (latest - told) / 2 - timedelta(seconds=answered)
        self._due_at = answered + MEASURE_SECONDS


def told_by(client: Client) -> datetime:
    """Return the time that a server tells, or that of this machine if it does not tell it."""
    told: datetime = client.admin.command("hello").get("localTime") or documents.now()
    return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)


_clocks: ProcessLocal[dict[str, ServerClock]] = ProcessLocal(dict)


def clock_for(server: str) -> ServerClock:
    """Return this process's clock of a server.

    Args:
        server: a name that is the same for all clients of the server.
    """
    return _clocks.get().setdefault(server, ServerClock())
