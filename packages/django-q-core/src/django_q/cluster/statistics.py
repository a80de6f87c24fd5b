"""Statistics of a cluster: takes snapshots and publishes them as `Stat`."""

from __future__ import annotations

import math
import socket
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django_q.__about__ import __version__
from django_q.clock import in_project_time
from django_q.cluster.current_tasks import CurrentTasks
from django_q.cluster.ipc.state import ClusterState, Phase
from django_q.exceptions import BrokerError
from django_q.log import messages as log
from django_q.pacing import Backoff
from django_q.status import IDLE, STARTING, STOPPED, STOPPING, WORKING, Stat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings

    from .process import Wiring

PUBLISH_SECONDS: Final = 1.0
"""Interval of publications while the values change."""

REPUBLISH_SECONDS: Final = 2.0
"""Interval of publications while the values stay the same. Their time to live is `status.TTL_SECONDS`."""


def stat_of(
    state: ClusterState, cluster_id: str, settings: ClusterSettings, tasks: Sequence[dict[str, Any]] | None = None
) -> Stat:
    """Take a snapshot of a cluster.

    Args:
        state: shared memory of the cluster.
        cluster_id: id of the cluster.
        settings: settings of the cluster.
        tasks: values of the running tasks; None to read them now.

    Returns:
        A `Stat` that does not change with the cluster.
    """
    return Stat(
        cluster_id=cluster_id,
        queue=settings.list_key,
        version=__version__,
        host=socket.gethostname(),
        pid=state.parent,
        sentinel=state.sentinel,
        pusher=state.pusher,
        monitor=state.monitor,
        workers=[slot.pid for slot in state.slots if slot.pid],
        tasks=[*(CurrentTasks(settings, state).read() if tasks is None else tasks)],
        status=status_of(state),
        tob=in_project_time(datetime.fromtimestamp(state.born, UTC)) if state.born else None,
        reincarnations=state.reincarnations,
        task_q_size=state.waiting,
        done_q_size=state.unsaved,
    )


def status_of(state: ClusterState) -> str:
    """Return the state of a cluster, in a word of the manual."""
    match state.phase:
        case Phase.STARTING:
            return STARTING
        case Phase.STOPPING | Phase.ENDING:
            return STOPPING
        case Phase.STOPPED:
            return STOPPED
        case _:
            return IDLE if state.idle else WORKING


class Publisher:
    """Publishes the cluster's statistics in one of two processes.

    If the broker keeps the statistics beside its packages, the pusher publishes them: it has a connection and depends
    on that server anyway. A cache may hang while packages can be fetched and leases must be renewed. So for statistics
    in a cache, the scheduler publishes.

    Args:
        name: name of the process, for the log.
        wiring: shared resources of the cluster.
        broker: broker that stores the statistics.
        here: True if this process publishes.
    """

    def __init__(self, name: str, wiring: Wiring, broker: Broker, *, here: bool) -> None:
        self.name, self.wiring, self.broker, self.here = name, wiring, broker, here
        self.due = 0.0 if here else math.inf
        """Time of the next step (`time.monotonic`, seconds)."""
        self.current = CurrentTasks(wiring.settings, wiring.state)
        self.published: dict[str, Any] = {}
        self.again_at = 0.0
        self.backoff = Backoff()

    def step(self) -> None:
        """Publish if that is due."""
        if time.monotonic() >= self.due:
            self.publish()
            self.due = time.monotonic() + PUBLISH_SECONDS + self.backoff.seconds

    def publish(self) -> None:
        """Publish now, unless the same values were published less than about `REPUBLISH_SECONDS` ago."""
        if not self.here:
            return
        stat = stat_of(self.wiring.state, self.wiring.cluster_id, self.wiring.settings, self.current.read())
        values = {name: value for name, value in vars(stat).items() if name != "timestamp"}
        now = time.monotonic()
        if values == self.published and now < self.again_at:
            return
        try:
            stat.save(self.broker)
        except BrokerError as error:
            if self.backoff.failed():
                log.cluster.statistics_not_published(self.name, error)
        else:
            self.backoff.succeeded()
            self.published, self.again_at = values, now + REPUBLISH_SECONDS - PUBLISH_SECONDS / 2
