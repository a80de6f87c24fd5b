"""Collects a `Snapshot`: the clusters, queues and tasks of a project at one time, as plain values."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError
from django.db.models import Avg, Count, F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from django_q.brokers import broker_of, shared_broker
from django_q.brokers.registry import OWN_QUEUE
from django_q.caches.sharing import is_private
from django_q.clock import in_project_time
from django_q.databases.connections import close_after
from django_q.exceptions import DjangoQError
from django_q.models import Record, Schedule, Task
from django_q.models.record import Status as TaskStatus
from django_q.settings import current_settings
from django_q.status import Stat
from django_q.text import error_line, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings

T = TypeVar("T")

RATE_HOURS: Final = 24
"""Time over which `Totals` count tasks and average their times. The manual's 24 hours."""

MAX_RUNNING_ROWS: Final = 100
"""Maximum number of running tasks in a snapshot."""

DETAILS_SECONDS: Final = 3.0
"""Interval at which a `Collector` counts queues and tasks. It reads the statistics of clusters each time."""


@dataclass(frozen=True, kw_only=True)
class WorkerTask:
    """Task that a worker of a cluster executes, tracked or not."""

    worker: int
    """Process id of the worker."""
    id: str
    name: str
    func: str
    is_tracked: bool
    seconds: float
    """Seconds since the worker took it."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> WorkerTask:
        """Return a task that a cluster has published."""
        return cls(
            worker=values["worker"],
            id=one_line(values["id"]),
            name=one_line(values["name"]),
            func=one_line(values["func"]),
            is_tracked=values["track"],
            seconds=max((timezone.now() - in_project_time(values["started"])).total_seconds(), 0.0),
        )


@dataclass(frozen=True, kw_only=True)
class ClusterRow:
    """State of one cluster."""

    cluster_id: str
    host: str
    pid: int
    """Id of its outermost process, which the manual calls the id of the cluster."""
    queue: str | None
    status: str
    workers: tuple[int, ...]
    """Process ids of the workers."""
    sentinel: int
    pusher: int
    monitor: int
    task_queue: int
    """Number of tasks in its memory that wait for a worker."""
    result_queue: int
    """Number of results that wait to be saved."""
    reincarnations: int
    uptime: float
    """Seconds since its start."""
    version: str = ""
    """Version of django-q-core; empty for a cluster of a public edition."""
    tasks: tuple[WorkerTask, ...] = ()
    """Tasks that its workers have executed for a second or longer."""

    @classmethod
    def of(cls, stat: Stat) -> ClusterRow:
        """Return the row of a published snapshot. Those of the public editions lack some attributes."""
        return cls(
            cluster_id=one_line(stat.cluster_id),
            host=one_line(stat.host),
            pid=stat.pid,
            queue=getattr(stat, "queue", None),
            status=one_line(stat.status),
            workers=tuple(stat.workers),
            sentinel=stat.sentinel,
            pusher=stat.pusher,
            monitor=stat.monitor,
            task_queue=stat.task_q_size,
            result_queue=stat.done_q_size,
            reincarnations=stat.reincarnations,
            uptime=stat.uptime(),
            version=one_line(getattr(stat, "version", "")),
            tasks=tuple(map(WorkerTask.of, getattr(stat, "tasks", ()))),
        )


@dataclass(frozen=True, kw_only=True)
class QueueRow:
    """Sizes of one queue in the broker."""

    name: str
    waiting: int
    in_flight: int | None
    """None if the broker cannot count leases."""
    dead: int
    """Number of dead letters."""


@dataclass(frozen=True, kw_only=True)
class RunningRow:
    """Tracked task that a worker executes."""

    id: str
    name: str
    func: str
    queue: str
    worker: str
    """Host, cluster and process."""
    attempt: int
    seconds: float
    """Seconds since the start of this attempt."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Numbers of rows in the database."""

    successes: int
    failures: int
    schedules: int
    recent: int
    """Number of tasks that ended in the last `RATE_HOURS`."""
    average: float
    """Average time of these tasks in seconds."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """State of a project at one time. A part that could not be read is empty or None, and `problems` has the reason."""

    name: str
    """Name of the project in `Q_CLUSTER`."""
    broker: str
    queue_limit: int
    clusters: tuple[ClusterRow, ...]
    queues: tuple[QueueRow, ...]
    running: tuple[RunningRow, ...]
    totals: Totals | None
    problems: tuple[str, ...]
    """Sentences about what could not be read."""

    @property
    def waiting(self) -> int:
        """Number of packages that wait in all queues."""
        return sum(queue.waiting for queue in self.queues)

    @property
    def in_flight(self) -> int:
        """Number of packages under a lease in all queues."""
        return sum(queue.in_flight or 0 for queue in self.queues)

    def as_dict(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Details:
    """Parts of a snapshot that take a query or a request each."""

    queues: tuple[QueueRow, ...]
    running: tuple[RunningRow, ...]
    totals: Totals | None
    info: str
    problems: tuple[str, ...]


class Collector:
    """Takes snapshots of a project, one after another.

    Args:
        settings: None for the current settings.
        counts_rows: False to leave out the totals, because counting millions of rows takes long.
    """

    def __init__(self, settings: ClusterSettings | None = None, *, counts_rows: bool = True) -> None:
        self.counts_rows = counts_rows
        self.settings = settings or current_settings()
        self.broker = shared_broker(self.settings)
        self.details: Details | None = None
        self.details_due = 0.0
        """Time of the next count (`time.monotonic`, seconds)."""

    def snapshot(self) -> Snapshot:
        """Take a snapshot."""
        problems = Problems()
        clusters = problems.reading_clusters(self.broker)
        if self.details is None or time.monotonic() >= self.details_due:
            self.details = self._details(clusters)
            self.details_due = time.monotonic() + DETAILS_SECONDS
        problems.add(*self.details.problems)
        return Snapshot(
            name=self.settings.name,
            broker=self.details.info,
            queue_limit=self.settings.queue_limit,
            clusters=clusters,
            queues=self.details.queues,
            running=self.details.running,
            totals=self.details.totals,
            problems=tuple(problems.sentences),
        )

    def _details(self, clusters: Iterable[ClusterRow]) -> Details:
        problems = Problems()
        return Details(
            queues=problems.reading(lambda: tuple(map(queue_row, queue_names(self.settings, clusters))), ()),
            running=problems.reading(running, ()),
            totals=problems.reading(totals, None) if self.counts_rows else None,
            info=problems.reading(lambda: one_line(self.broker.info()), type(self.broker).__name__),
            problems=tuple(problems.sentences),
        )


class Problems:
    """Collects the reasons why parts of a snapshot could not be read, each once."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, *sentences: str) -> None:
        """Add sentences that are not known yet."""
        self.sentences += [each for each in dict.fromkeys(sentences) if each not in self.sentences]

    def reading(self, read: Callable[[], T], otherwise: T) -> T:
        """Return what a function reads from a server; *otherwise* if that fails, which becomes a problem."""
        try:
            return read()
        except DjangoQError as error:
            self.add(one_line(error))
        except (DatabaseError, InterfaceError, ImproperlyConfigured) as error:
            close_after(error)
            self.add(_("The database cannot be read (%s): check that it runs and is migrated.") % error_line(error))
        return otherwise

    def reading_clusters(self, broker: Broker) -> tuple[ClusterRow, ...]:
        """Return the clusters that publish statistics, as far as they can be seen."""
        found = self.reading(lambda: clusters_of(broker), ())
        self.add(*unseen(broker))
        return found


def clusters_of(broker: Broker) -> tuple[ClusterRow, ...]:
    """Return all clusters that publish statistics, by host, name of the queue and process id.

    Raises:
        BrokerUnavailable: the statistics cannot be read.
    """
    rows = map(ClusterRow.of, Stat.get_all(broker))
    return tuple(sorted(rows, key=lambda row: (row.host, row.queue or "", row.pid)))


def unseen(broker: Broker) -> list[str]:
    """Return a sentence if the statistics of clusters are kept where other processes cannot read them."""
    alias = broker.settings.cache
    beside_packages = broker.keeps_statistics or broker.alias is not None
    if beside_packages or (broker.cache is not None and not is_private(alias)):
        return []
    backend = django_settings.CACHES.get(alias, {}).get("BACKEND", "")
    kind = backend.rpartition(".")[2] or _("it does not exist")
    return [
        _(
            "No cluster can be seen, because processes cannot share the cache '%(alias)s' (%(kind)s): let "
            "Q_CLUSTER['cache'] name one that they share, such as Redis or the database cache."
        )
        % {"alias": alias, "kind": kind}
    ]


def queue_names(settings: ClusterSettings, clusters: Iterable[ClusterRow] = ()) -> list[str]:
    """Return the names of the queues of the settings, then those of other running clusters."""
    known = [
        settings.list_key,
        *(settings.alt_clusters or {}),
        *(each for each in settings.queues if each != OWN_QUEUE),
    ]
    return list(dict.fromkeys(known + sorted({row.queue for row in clusters if row.queue})))


def queue_row(name: str) -> QueueRow:
    """Return the sizes of a queue.

    Raises:
        BrokerUnavailable: the broker cannot answer now.
    """
    broker = broker_of(name)
    return QueueRow(name=name, waiting=broker.queue_size(), in_flight=broker.lock_size(), dead=broker.dead_size() or 0)


def running() -> tuple[RunningRow, ...]:
    """Return the tracked tasks that workers execute, oldest first, at most `MAX_RUNNING_ROWS`."""
    now = timezone.now()
    found = Record.objects.filter(status=TaskStatus.RUNNING, lease_ends_at__gt=now).order_by("last_attempted_at")
    return tuple(running_row(record, now) for record in found.defer("arguments", "result")[:MAX_RUNNING_ROWS])


def running_row(record: Record, now: datetime) -> RunningRow:
    """Return the row of a running task."""
    last = record.attempts[-1] if record.attempts else {}
    began = record.last_attempted_at or now
    return RunningRow(
        id=record.id,
        name=one_line(record.name),
        func=one_line(record.func),
        queue=one_line(record.queue),
        worker=one_line(last.get("worker") or ""),
        attempt=last.get("number", 1),
        seconds=max((now - began).total_seconds(), 0.0),
    )


def totals() -> Totals:
    """Count the rows of tasks and schedules."""
    since = timezone.now() - timedelta(hours=RATE_HOURS)
    counts = Task.objects.aggregate(successes=Count("pk", filter=Q(success=True)), every=Count("pk"))
    recent = Task.objects.filter(stopped__gte=since).aggregate(
        count=Count("pk"), average=Avg(F("stopped") - F("started"))
    )
    return Totals(
        successes=counts["successes"],
        failures=counts["every"] - counts["successes"],
        schedules=Schedule.objects.count(),
        recent=recent["count"],
        average=recent["average"].total_seconds() if recent["average"] else 0.0,
    )
