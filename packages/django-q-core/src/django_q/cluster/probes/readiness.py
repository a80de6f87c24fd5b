"""Decides if a cluster can fetch and save tasks: calls the broker and the database."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from django.db import connections, router

from django_q.brokers import consuming_broker
from django_q.cluster.ipc.state import Phase
from django_q.cluster.probes.background import BackgroundCall
from django_q.cluster.startup import broker_unavailable
from django_q.models import Task

if TYPE_CHECKING:
    from django_q.cluster.ipc.state import ClusterState
    from django_q.settings import ClusterSettings

ANSWER_SECONDS: Final = 3.0
"""Time after which a server is not ready. The probes of container platforms must have a longer timeout."""


class Readiness:
    """Checks the servers of a cluster, each in a thread.

    Args:
        settings: settings of the cluster.
        state: its shared memory.
    """

    def __init__(self, settings: ClusterSettings, state: ClusterState) -> None:
        self.state = state
        self.calls = {
            "broker": BackgroundCall(partial(check_broker, settings), ANSWER_SECONDS),
            "database": BackgroundCall(check_database, ANSWER_SECONDS),
        }

    def reasons(self, asked: float | None = None) -> list[str] | None:
        """Return a sentence for each reason why the cluster is not ready; None while a server has not answered.

        Args:
            asked: time of the request (`time.monotonic`, seconds); None for now.
        """
        if self.state.phase == Phase.STARTING:
            return ["The cluster is starting."]
        if self.state.phase > Phase.RUNNING or self.state.stop_requests:
            return ["The cluster is stopping."]
        asked = time.monotonic() if asked is None else asked
        calls = {name: call.result(asked) for name, call in self.calls.items()}
        if any(call is None for call in calls.values()):
            return None
        return [f"The {name} is not ready: {call.error}" for name, call in calls.items() if call and call.error]


def check_broker(settings: ClusterSettings) -> None:
    """Call the broker.

    Raises:
        ConnectionError: it is unavailable.
    """
    broker = consuming_broker(settings)
    try:
        if reason := broker_unavailable(broker):
            raise ConnectionError(reason)
    finally:
        broker.disconnect()


def check_database() -> None:
    """Execute a statement in the database of the results.

    Raises:
        Error: the database is unavailable.
    """
    connection = connections[router.db_for_write(Task)]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1{connection.features.bare_select_suffix}")
