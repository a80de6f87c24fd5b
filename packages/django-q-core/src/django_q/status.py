"""What a cluster was doing a moment ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone
from django.utils.translation import gettext_lazy

from django_q.brokers import get_broker
from django_q.clock import in_project_time
from django_q.exceptions import UnreadablePackage
from django_q.log import logger
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec

if TYPE_CHECKING:
    from datetime import datetime

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings


STARTING: Final = gettext_lazy("Starting")
WORKING: Final = gettext_lazy("Working")
IDLE: Final = gettext_lazy("Idle")
STOPPED: Final = gettext_lazy("Stopped")
STOPPING: Final = gettext_lazy("Stopping")
"""States of a cluster, as they are shown."""

TTL_SECONDS = 5
"""How long a statistic is kept: a cluster that publishes none for so long is not there any more."""


class Status:
    """What is known of a cluster that publishes nothing: that it is stopped.

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
        """How often a process was replaced."""
        self.pid = pid
        self.cluster_id = cluster_id
        self.sentinel = 0
        """Process id of the sentinel."""
        self.status = str(STOPPED)
        """What it is doing, in a word of the manual."""
        self.done_q_size = 0
        """Results that wait to be saved."""
        self.host = ""
        self.monitor = 0
        """Process id of the monitor."""
        self.task_q_size = 0
        """Tasks that wait for a worker, in the cluster's memory."""
        self.pusher = 0
        """Process id of the pusher."""
        self.timestamp = timezone.now()


class Stat(Status):
    """A snapshot of a cluster: plain values, published once a second while they change.

    Class path and attribute names are those of the public editions, which read and write the same statistics.
    """

    def __init__(self, pid: int = 0, cluster_id: str = "", **values: Any) -> None:
        super().__init__(pid, cluster_id)
        self.queue: str | None = None
        """The queue that the cluster works on."""
        vars(self).update(values)

    def uptime(self) -> float:
        """Seconds since the time of birth."""
        return (timezone.now() - in_project_time(self.tob)).total_seconds() if self.tob else 0.0

    def empty_queues(self) -> bool:
        """Whether no task and no result waits in the cluster's memory."""
        return self.done_q_size + self.task_q_size == 0

    @property
    def key(self) -> str:
        """Where the statistics of this cluster are kept."""
        return self.get_key(self.cluster_id)

    @staticmethod
    def get_key(cluster_id: str) -> str:
        """Where the statistics of a cluster are kept."""
        return f"{current_settings().q_stat}:{cluster_id}"

    def save(self, broker: Broker | None = None) -> None:
        """Publish it for a few seconds.

        Raises:
            BrokerUnavailable: it was not published.
        """
        broker = broker or get_broker()
        key = f"{broker.settings.q_stat}:{self.cluster_id}"
        broker.set_stat(key, _codec(broker.settings).dumps(self), TTL_SECONDS)

    @staticmethod
    def get(pid: int | str, cluster_id: str | None = None, broker: Broker | None = None) -> Stat | Status:
        """The current snapshot of one cluster.

        Args:
            pid: process id of the cluster; may be left out, the id is what counts.
            cluster_id: id of the cluster.
            broker: None for the broker of the settings.

        Returns:
            Its `Stat`, or a `Status` that says "Stopped" when it publishes nothing.
        """
        if cluster_id is None:
            pid, cluster_id = 0, str(pid)
        broker = broker or get_broker()
        package = broker.get_stat(Stat.get_key(cluster_id))
        stat = _read(package, broker.settings) if package else None
        return stat or Status(int(pid), cluster_id)

    @staticmethod
    def get_all(broker: Broker | None = None) -> list[Stat]:
        """The current snapshots of all clusters that share the broker and the name."""
        broker = broker or get_broker()
        packages = broker.get_stats(f"{broker.settings.q_stat}:*")
        return [stat for package in packages if (stat := _read(package, broker.settings)) is not None]


def _codec(settings: ClusterSettings) -> PackageCodec:
    return PackageCodec(settings.salt, compress=True)


def _read(package: str | bytes, settings: ClusterSettings) -> Stat | None:
    try:
        stat = _codec(settings).loads(package)
    except UnreadablePackage as error:
        logger.warning("A statistic cannot be read: %s", error)
        return None
    return stat if isinstance(stat, Stat) else None
