"""Takes snapshots of a cluster, and publishes them for those who ask for its `Stat`."""

from __future__ import annotations

import math
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django_q.clock import in_project_time
from django_q.cluster.ipc.state import ClusterState, Phase
from django_q.exceptions import BrokerError
from django_q.pacing import Backoff
from django_q.status import IDLE, STARTING, STOPPED, STOPPING, WORKING, Stat

from . import log

if TYPE_CHECKING:
    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings

    from .process import Wiring


def stat_of(state: ClusterState, cluster_id: str, settings: ClusterSettings) -> Stat:
    """Take a snapshot of a cluster.

    Args:
        state: its shared memory.
        cluster_id: its id.
        settings: its settings.

    Returns:
        Plain values that stay as they are.
    """
    return Stat(
        cluster_id=cluster_id,
        queue=settings.list_key,
        host=socket.gethostname(),
        pid=state.parent,
        sentinel=state.sentinel,
        pusher=state.pusher,
        monitor=state.monitor,
        workers=[slot.pid for slot in state.slots if slot.pid],
        status=status_of(state),
        tob=in_project_time(datetime.fromtimestamp(state.born, UTC)) if state.born else None,
        reincarnations=state.reincarnations,
        task_q_size=state.waiting,
        done_q_size=state.unsaved,
    )


def status_of(state: ClusterState) -> str:
    """Say in one of the manual's words what a cluster is doing."""
    match state.phase:
        case Phase.STARTING:
            return str(STARTING)
        case Phase.STOPPING | Phase.ENDING:
            return str(STOPPING)
        case Phase.STOPPED:
            return str(STOPPED)
        case _:
            return str(IDLE if state.idle else WORKING)


PUBLISH_SECONDS: Final = 1.0
"""Seconds between two statistics of a cluster that works."""


REPUBLISH_SECONDS: Final = 2.0
"""Seconds between two statistics that say the same; they are forgotten after five."""


class Publisher:
    """Publishes the cluster's statistics in one of two processes.

    Where the broker keeps them beside its packages, the pusher does: it can do nothing without that server anyway, and
    has a connection. What is kept elsewhere, in a cache, may hang while packages can be fetched and leases must be
    renewed: then it is the scheduler.

    Args:
        name: of the process.
        wiring: of the process.
        broker: where they go.
        here: whether it is this process that publishes.
    """

    def __init__(self, name: str, wiring: Wiring, broker: Broker, *, here: bool) -> None:
        self.name, self.wiring, self.broker, self.here = name, wiring, broker, here
        self.due = 0.0 if here else math.inf
        """When to step next (`time.monotonic`, seconds)."""
        self.published: dict[str, Any] = {}
        self.again_at = 0.0
        self.backoff = Backoff()

    def step(self) -> None:
        """Publish when it is time."""
        if time.monotonic() >= self.due:
            self.publish()
            self.due = time.monotonic() + PUBLISH_SECONDS + self.backoff.seconds

    def publish(self) -> None:
        """Publish now, unless the same was published a moment ago."""
        if not self.here:
            return
        stat = stat_of(self.wiring.state, self.wiring.cluster_id, self.wiring.settings)
        values = {name: value for name, value in vars(stat).items() if name != "timestamp"}
        now = time.monotonic()
        if values == self.published and now < self.again_at:
            return
        try:
            stat.save(self.broker)
        except BrokerError as error:
            if self.backoff.failed():
                log.no_statistics(self.name, error)
        else:
            self.backoff.succeeded()
            self.published, self.again_at = values, now + REPUBLISH_SECONDS - PUBLISH_SECONDS / 2
