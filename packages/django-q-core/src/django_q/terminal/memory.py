"""Measures the memory of the clusters of this host, and makes the screen of `qmemory`."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext as _

from django_q.exceptions import ConfigurationError
from django_q.old_names import load

from .snapshot import Problems
from .tables import Column, Line, Segment, Table, cut
from .views import WIDE_SCREEN, clipped, emptiness, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Broker

    from .snapshot import ClusterRow

MEGABYTE: Final = 2**20
"""Bytes of the unit of the screen."""

LOW_PERCENT: Final = 20
"""Available memory in percent from which it is shown in yellow; in red from half of it."""


@dataclass(frozen=True, kw_only=True)
class WorkerMemory:
    """Memory of a worker."""

    pid: int
    size: int | None
    """Resident set in bytes; None if the process has ended or belongs to another user."""


@dataclass(frozen=True, kw_only=True)
class ClusterMemory:
    """Memory of one cluster, in bytes. On another host, it cannot be measured: all sizes are None."""

    host: str
    pid: int
    cluster_id: str
    available: int | None
    """Memory of the host that processes can get."""
    total: int | None
    """Memory of the host."""
    sentinel: int | None
    pusher: int | None
    monitor: int | None
    workers: tuple[WorkerMemory, ...]

    @property
    def percent(self) -> float | None:
        """Available part of the host's memory in percent."""
        return None if self.available is None or not self.total else 100 * self.available / self.total

    @property
    def workers_size(self) -> int | None:
        """Sum of the workers in bytes; None if none can be measured."""
        sizes = [worker.size for worker in self.workers if worker.size is not None]
        return sum(sizes) if sizes else None


class MemoryMeter:
    """Measures clusters, one time after another, and remembers the least available memory.

    Args:
        broker: broker with the statistics.

    Raises:
        ConfigurationError: psutil is not installed.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.psutil: Any = load("psutil")  # on any system, unlike the modules of the cluster
        if self.psutil is None:
            raise ConfigurationError(_('qmemory needs psutil: pip install "django-q-core[process]".'))
        self.host = socket.gethostname()
        self.lowest: float | None = None
        """Least available memory of this host until now, in percent."""
        self.problems: tuple[str, ...] = ()
        """Sentences about what the last measurement could not read."""

    def measure(self) -> tuple[ClusterMemory, ...]:
        """Measure all clusters that publish statistics."""
        problems = Problems()
        clusters = problems.reading_clusters(self.broker)
        self.problems = tuple(problems.sentences)
        rows = tuple(self.row(cluster) for cluster in clusters)
        percents = [row.percent for row in rows if row.percent is not None]
        if percents:
            self.lowest = min([*percents, *([] if self.lowest is None else [self.lowest])])
        return rows

    def row(self, cluster: ClusterRow) -> ClusterMemory:
        """Measure one cluster."""
        is_here = cluster.host == self.host
        host = self.psutil.virtual_memory() if is_here else None
        sizes = {
            pid: self.size_of(pid) if is_here else None
            for pid in (cluster.sentinel, cluster.pusher, cluster.monitor, *cluster.workers)
        }
        return ClusterMemory(
            host=cluster.host,
            pid=cluster.pid,
            cluster_id=cluster.cluster_id,
            available=host.available if host else None,
            total=host.total if host else None,
            sentinel=sizes[cluster.sentinel],
            pusher=sizes[cluster.pusher],
            monitor=sizes[cluster.monitor],
            workers=tuple(WorkerMemory(pid=pid, size=sizes[pid]) for pid in cluster.workers),
        )

    def size_of(self, pid: int) -> int | None:
        """Return the resident set of a process in bytes; None if it has ended or belongs to another user."""
        if not pid:
            return None
        try:
            return int(self.psutil.Process(pid).memory_info().rss)
        except (self.psutil.NoSuchProcess, self.psutil.AccessDenied):
            return None


def memory_screen(
    meter: MemoryMeter, rows: Sequence[ClusterMemory], width: int, height: int | None = None, *, workers: bool = False
) -> list[Line]:
    """Return the lines of `qmemory`.

    Args:
        meter: meter of the rows.
        rows: what to show.
        width: width of the screen in characters.
        height: maximum number of lines; None for all.
        workers: True to show a row for each worker, too.
    """
    lines = table(rows).lines(width)
    if not rows:
        lines.append((Segment(cut(emptiness("clusters"), width)),))
    if workers and rows:
        lines += [(), *worker_table(rows).lines(width)]
    below: list[Line] = [()]
    if meter.lowest is not None:
        below.append((Segment(cut(_("Available lowest: %.1f %%") % meter.lowest, width), "bold"),))
    if any(row.total is None for row in rows):
        below.append((Segment(cut(_("Run the command on the other hosts for their memory."), width)),))
    below += [(Segment(part, "red"),) for problem in meter.problems for part in wrapped(problem, width)]
    room = None if height is None else max(height - len(below), 2)
    return [*clipped(lines, room, width), *below][:height]


def table(rows: Sequence[ClusterMemory]) -> Table:
    """Return the table of clusters, with sizes in megabytes."""
    columns = [
        Column(title=_("Host"), is_elastic=True, min_width=8),
        Column(title=_("Id"), min_width=7),
        Column(title=_("Available %"), is_number=True),
        Column(title=_("Available"), is_number=True),
        Column(title=_("Total"), is_number=True),
        Column(title=_("Sentinel"), is_number=True),
        Column(title=_("Monitor"), is_number=True),
        Column(title=_("Workers"), is_number=True),
        Column(title=_("Pusher"), is_number=True, min_screen=WIDE_SCREEN),
    ]
    return Table(columns=columns, rows=[cells(row) for row in rows])


def cells(row: ClusterMemory) -> list[Segment]:
    """Return the cells of a cluster."""
    sizes = (row.available, row.total, row.sentinel, row.monitor, row.workers_size, row.pusher)
    percent = "-" if row.percent is None else f"{row.percent:.1f}"
    return [
        Segment(row.host),
        Segment(str(row.pid)),
        Segment(percent, style_of(row.percent)),
        *(Segment(megabytes(size)) for size in sizes),
    ]


def worker_table(rows: Sequence[ClusterMemory]) -> Table:
    """Return the table of workers, with sizes in megabytes."""
    columns = [
        Column(title=_("Host"), is_elastic=True, min_width=8),
        Column(title=_("Id"), min_width=7),
        Column(title=_("Worker"), min_width=7),
        Column(title=_("Memory"), is_number=True),
    ]
    return Table(
        columns=columns,
        rows=[
            [Segment(row.host), Segment(str(row.pid)), Segment(str(worker.pid)), Segment(megabytes(worker.size))]
            for row in rows
            for worker in row.workers
        ],
    )


def style_of(percent: float | None) -> str:
    """Return the colour of a part of the host's memory."""
    if percent is None or percent > LOW_PERCENT:
        return ""
    return "yellow" if percent > LOW_PERCENT / 2 else "red"


def megabytes(size: int | None) -> str:
    """Return a size in bytes as megabytes, or a hyphen."""
    return "-" if size is None else f"{size / MEGABYTE:.0f}"
