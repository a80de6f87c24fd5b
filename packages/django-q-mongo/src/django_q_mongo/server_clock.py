"""Reads the clock of the server, which leases and delays follow, because clocks of clients may differ."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django_q import clock
from django_q.brokers.process_local import ProcessLocal

from django_q_mongo import documents
from django_q_mongo.errors import converting_errors

if TYPE_CHECKING:
    from django_q_mongo.client import Client

MEASURE_SECONDS: Final = 10.0
"""Interval at which the server is asked again, because its clock or the primary may have changed."""

CLOCK_RESOLUTION: Final = timedelta(milliseconds=1)
"""Resolution of the server's time."""


class ServerClock:
    """Clock of a server. It is asked at intervals; in between, the monotonic clock is added."""

    def __init__(self) -> None:
        self._due_at = -math.inf
        self._start = datetime.min.replace(tzinfo=UTC)
        """Time of the server's clock at 0 of the monotonic clock."""

    def now(self, client: Client) -> datetime:
        """Return the present by the clock of the server of *client*.

        Raises:
            BrokerUnavailable: the server cannot be asked.
        """
        if clock.monotonic() >= self._due_at:
            with converting_errors():
                self._measure(client)
        return self._start + timedelta(seconds=clock.monotonic())

    def _measure(self, client: Client) -> None:
        asked = clock.monotonic()
        reported = time_of(client)
        answered = clock.monotonic()
        latest = reported + timedelta(seconds=answered - asked) + CLOCK_RESOLUTION
        # A reading that agrees with the answer is kept, so that packages of one process keep their order.
        if not reported <= self._start + timedelta(seconds=answered) <= latest:
            self._start = reported + (latest - reported) / 2 - timedelta(seconds=answered)
        self._due_at = answered + MEASURE_SECONDS


def time_of(client: Client) -> datetime:
    """Return the time of a server, or that of this machine if the server does not report it."""
    reported: datetime = client.admin.command("hello").get("localTime") or documents.now()
    return reported.astimezone(UTC) if reported.tzinfo else reported.replace(tzinfo=UTC)


_clocks: ProcessLocal[dict[str, ServerClock]] = ProcessLocal(dict)


def clock_for(server: str) -> ServerClock:
    """Return this process's clock of a server.

    Args:
        server: a name that is the same for all clients of the server.
    """
    return _clocks.get().setdefault(server, ServerClock())
