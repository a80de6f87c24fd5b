"""Statistics of clusters: `Stat` is a snapshot that a cluster publishes."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone
from django.utils.translation import gettext_noop

from django_q.brokers import get_broker
from django_q.clock import in_project_time
from django_q.exceptions import UnreadablePackage
from django_q.log import messages as log
from django_q.settings import current_settings
from django_q.wire.codec import StatCodec

if TYPE_CHECKING:
    from datetime import datetime

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings


STARTING: Final = gettext_noop("Starting")
WORKING: Final = gettext_noop("Working")
IDLE: Final = gettext_noop("Idle")
STOPPED: Final = gettext_noop("Stopped")
STOPPING: Final = gettext_noop("Stopping")
"""A cluster's states: the same values in all languages, which pages and screens translate."""

TTL_SECONDS = 5
"""Time to live of published statistics. A cluster that publishes nothing for this time is not listed any more."""


class Status:
    """Status of a cluster that publishes nothing: it is stopped.

    Args:
        pid: process id of the outermost process.
        cluster_id: id of the cluster.
    """

    def __init__(self, pid: int = 0, cluster_id: str = "") -> None:
        self.workers: list[int] = []
        """Process ids of the workers."""
        self.tob: datetime | None = None
        """Time of birth."""
        self.reincarnations = 0
        """Number of processes that were replaced."""
        self.pid = pid
        self.cluster_id = cluster_id
        self.sentinel = 0
        """Process id of the sentinel."""
        self.status = STOPPED
        """State of the cluster, in a word of the manual, such as `Idle`."""
        self.done_q_size = 0
        """Number of results that wait to be saved."""
        self.host = ""
        self.monitor = 0
        """Process id of the monitor."""
        self.task_q_size = 0
        """Number of tasks in the cluster's memory that wait for a worker."""
        self.pusher = 0
        """Process id of the pusher."""
        self.timestamp = timezone.now()


class Stat(Status):
    """Snapshot of a cluster. A cluster publishes it once a second while its values change.

    Class path and attribute names are those of the public editions, so that their statistics can be read.
    """

    def __init__(self, pid: int = 0, cluster_id: str = "", **values: Any) -> None:
        super().__init__(pid, cluster_id)
        self.queue: str | None = None
        """Name of the queue whose tasks the cluster executes."""
        self.version = ""
        """Version of django-q-core that the cluster runs. Snapshots of the public editions lack this attribute."""
        self.tasks: list[dict[str, Any]] = []
        """Running tasks: `id`, `name`, `func`, `track`, process id of the `worker` and time at which it has `started`.

        Snapshots of the public editions lack this attribute, and short tasks are left out.
        """
        vars(self).update(values)

    def uptime(self) -> float:
        """Return the seconds since the time of birth."""
        return (timezone.now() - in_project_time(self.tob)).total_seconds() if self.tob else 0.0

    def empty_queues(self) -> bool:
        """Return True if no task and no result waits in the cluster's memory."""
        return self.done_q_size + self.task_q_size == 0

    @property
    def key(self) -> str:
        """Key under which the statistics of this cluster are stored."""
        return self.get_key(self.cluster_id)

    @staticmethod
    def get_key(cluster_id: str) -> str:
        """Return the key under which the statistics of a cluster are stored."""
        return f"{current_settings().q_stat}:{cluster_id}"

    def save(self, broker: Broker | None = None) -> None:
        """Publish the snapshot for `TTL_SECONDS`.

        Raises:
            BrokerUnavailable: the snapshot was not published.
        """
        broker = broker or get_broker()
        key = f"{broker.settings.q_stat}:{self.cluster_id}"
        broker.set_stat(key, StatCodec.of(broker.settings).dumps(self), TTL_SECONDS)

    @staticmethod
    def get(pid: int | str, cluster_id: str | Broker | None = None, broker: Broker | None = None) -> Stat | Status:
        """Return the last snapshot of one cluster.

        Args:
            pid: id of the cluster, or the id of its outermost process. With a `cluster_id`, it only labels the result.
            cluster_id: id of the cluster; it may be omitted: `get(cluster_id)` or `get(cluster_id, broker)`.
            broker: None for the broker of the settings.

        Returns:
            Its `Stat`; a `Status` with the state "Stopped" if the cluster publishes nothing. Of several clusters with
            a process id, the one on this host comes first.

        Raises:
            BrokerUnavailable: the statistics cannot be read.
        """
        if cluster_id is not None and not isinstance(cluster_id, str):
            cluster_id, broker = None, cluster_id
        broker = broker or get_broker()
        if cluster_id is None:
            if str(pid).isdecimal():
                return _of_process(int(pid), broker) or Status(int(pid))
            pid, cluster_id = 0, str(pid)
        package = broker.get_stat(f"{broker.settings.q_stat}:{cluster_id}")
        stat = _read(package, broker.settings) if package else None
        return stat or Status(int(pid), cluster_id)

    @staticmethod
    def get_all(broker: Broker | None = None) -> list[Stat]:
        """Return the last snapshots of all clusters that share the broker and the name."""
        broker = broker or get_broker()
        packages = broker.get_stats(f"{broker.settings.q_stat}:*")
        return [stat for package in packages if (stat := _read(package, broker.settings)) is not None]


def _of_process(pid: int, broker: Broker) -> Stat | None:
    found = [stat for stat in Stat.get_all(broker) if stat.pid == pid]
    return min(found, key=lambda stat: stat.host != socket.gethostname(), default=None)


def _read(package: str | bytes, settings: ClusterSettings) -> Stat | None:
    try:
        stat = StatCodec.of(settings).loads(package)
    except UnreadablePackage as error:
        log.cluster.statistics_unreadable(error)
        return None
    return stat if isinstance(stat, Stat) else None
