"""Makes screens of a snapshot: the views of `qmonitor` and the summary of `qinfo`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from django.utils.translation import gettext as _

from django_q.status import IDLE, STARTING, STOPPED, STOPPING, WORKING

from .tables import Column, Line, Segment, Table, aligned, cut

if TYPE_CHECKING:
    from .snapshot import ClusterRow, Snapshot, Totals

View: TypeAlias = Callable[["Snapshot"], Table]
"""Function that makes the table of a view."""

WIDE_SCREEN: Final = 100
"""Width from which a table has additional columns."""

INFO_CELL_WIDTH: Final = 13
"""Width of each of the six columns of the summary, which fits into 80 characters."""


def clusters(snapshot: Snapshot) -> Table:
    """Return the manual's table of clusters, with a sum of the numbers as its last row."""
    columns = [
        Column(title=_("Host"), is_elastic=True, min_width=8),
        Column(title=_("Id"), min_width=7),
        Column(title=_("State"), min_width=8),
        Column(title=_("Pool"), is_number=True),
        Column(title=_("TQ"), is_number=True, min_width=5),
        Column(title=_("RQ"), is_number=True, min_width=5),
        Column(title=_("RC"), is_number=True, min_width=3),
        Column(title=_("Up"), is_number=True, min_width=8),
        Column(title=_("Queue"), is_elastic=True, min_screen=WIDE_SCREEN),
    ]
    rows = [cluster_cells(row, snapshot.queue_limit) for row in snapshot.clusters]
    return Table(columns=columns, rows=[*rows, sums(snapshot)] if len(rows) > 1 else rows)


def cluster_cells(row: ClusterRow, queue_limit: int) -> Sequence[Segment]:
    """Return the cells of a cluster. Its task queue is green when `queue_limit` is reached, as the manual says."""
    return [
        Segment(row.host),
        Segment(str(row.pid)),
        Segment(_(row.status), state_style(row.status)),
        Segment(str(len(row.workers))),
        Segment(str(row.task_queue), "green" if row.task_queue >= queue_limit else ""),
        Segment(str(row.result_queue)),
        Segment(str(row.reincarnations), "yellow" if row.reincarnations else ""),
        Segment(clock(row.uptime)),
        Segment(row.queue or ""),
    ]


def sums(snapshot: Snapshot) -> Sequence[Segment]:
    """Return the last row of the table of clusters."""
    numbers = [
        sum(len(row.workers) for row in snapshot.clusters),
        sum(row.task_queue for row in snapshot.clusters),
        sum(row.result_queue for row in snapshot.clusters),
        sum(row.reincarnations for row in snapshot.clusters),
    ]
    cells = [str(len(snapshot.clusters)), "", "", *map(str, numbers), "", ""]
    return [Segment(cell, "bold") for cell in cells]


def state_style(status: str) -> str:
    """Return the colour of a cluster's state."""
    styles = {IDLE: "green", WORKING: "green", STARTING: "yellow", STOPPING: "yellow", STOPPED: "red"}
    return styles.get(status, "")


def queues(snapshot: Snapshot) -> Table:
    """Return the table of queues."""
    columns = [
        Column(title=_("Queue"), is_elastic=True, min_width=20),
        Column(title=_("Waiting"), is_number=True),
        Column(title=_("In flight"), is_number=True),
        Column(title=_("Dead letters"), is_number=True),
        Column(title=_("Clusters"), is_number=True),
    ]
    consumers = [row.queue for row in snapshot.clusters]
    rows = [
        [
            Segment(row.name),
            Segment(str(row.waiting)),
            Segment("-" if row.in_flight is None else str(row.in_flight)),
            Segment(str(row.dead), "red" if row.dead else ""),
            Segment(str(consumers.count(row.name)), "" if consumers.count(row.name) else "yellow"),
        ]
        for row in snapshot.queues
    ]
    return Table(columns=columns, rows=rows)


def running(snapshot: Snapshot) -> Table:
    """Return the table of tracked tasks that are executed now."""
    columns = [
        Column(title=_("Task"), is_elastic=True, min_width=8),
        Column(title=_("Function"), is_elastic=True, min_width=8),
        Column(title=_("Attempt"), is_number=True),
        Column(title=_("Time"), is_number=True, min_width=8),
        Column(title=_("Worker"), is_elastic=True, min_width=8),
        Column(title=_("Queue"), is_elastic=True, min_screen=WIDE_SCREEN),
        Column(title=_("Id"), min_screen=WIDE_SCREEN),
    ]
    rows = [
        [
            *(Segment(text) for text in (row.name, row.func, str(row.attempt), clock(row.seconds))),
            *(Segment(text) for text in (row.worker, row.queue, row.id)),
        ]
        for row in snapshot.running
    ]
    return Table(columns=columns, rows=rows)


VIEWS: Final[dict[str, View]] = {"clusters": clusters, "queues": queues, "running": running}
"""Views of `qmonitor` by name, in the order of their keys: 1, 2, 3."""


def emptiness(view: str) -> str:
    """Return the sentence about an empty view."""
    return {
        "clusters": _("No clusters appear to be running."),
        "queues": _("There are no queues."),
        "running": _("No tracked task is running. The option or the setting 'track' tracks tasks."),
    }[view]


def screen(snapshot: Snapshot, view: str, width: int, height: int | None = None, *, keys: bool = False) -> list[Line]:
    """Return the lines of a view, with the state of the broker and with problems below.

    Args:
        snapshot: what to show.
        view: name of the view.
        width: width of the screen in characters.
        height: maximum number of lines; None for all. Rows that do not fit are counted in one line.
        keys: True to show the keys of `qmonitor` in the last line.
    """
    table = VIEWS[view](snapshot).lines(width)
    if len(table) == 1:
        table.append((Segment(cut(emptiness(view), width)),))
    below: list[Line] = [(), (Segment(cut(bar(snapshot), width), "bold"),)]
    below += [(Segment(part, "red"),) for problem in snapshot.problems for part in wrapped(problem, width)]
    if keys:
        below.append((Segment(cut(_("1 Clusters   2 Queues   3 Running tasks   q Quit"), width)),))
    room = None if height is None else max(height - len(below), 2)
    return [*clipped(table, room, width), *below][:height]


def clipped(table: list[Line], room: int | None, width: int) -> list[Line]:
    """Return at most *room* lines of a table; None for all. The last one has the number of those that are missing."""
    if room is None or len(table) <= room:
        return table
    return [*table[: room - 1], (Segment(cut(_("… %d more rows") % (len(table) - room + 1), width), "yellow"),)]


def bar(snapshot: Snapshot) -> str:
    """Return the line about the broker and the database."""
    in_flight = _("%d in flight") % snapshot.in_flight
    parts = [snapshot.broker, f"{_('Queued')} {snapshot.waiting} ({in_flight})"]
    if snapshot.totals:
        parts += [f"{_('Successes')} {snapshot.totals.successes}", f"{_('Failures')} {snapshot.totals.failures}"]
    return "   ".join(parts)


def wrapped(text: str, width: int) -> list[str]:
    """Return a sentence as lines of at most *width* characters."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".lstrip()
    return [cut(each, width) for each in lines]


def summary(snapshot: Snapshot, version: str, width: int) -> list[Line]:
    """Return the manual's summary of all clusters.

    Args:
        snapshot: what to show. Its numbers are summed over all clusters and queues.
        version: version of Django Q.
        width: width of the screen in characters.
    """
    totals = snapshot.totals
    rate, unit = rate_of(totals)
    cells = [
        (_("Clusters"), len(snapshot.clusters)),
        (_("Workers"), sum(len(row.workers) for row in snapshot.clusters)),
        (_("Restarts"), sum(row.reincarnations for row in snapshot.clusters)),
        (_("Queued"), snapshot.waiting),
        (_("Successes"), totals.successes if totals else "-"),
        (_("Failures"), totals.failures if totals else "-"),
        (_("Schedules"), totals.schedules if totals else "-"),
        (unit, rate),
        (_("Avg time"), f"{totals.average:.4f}" if totals else "-"),
    ]
    lines: list[Line] = [(Segment(cut(_("%s summary") % snapshot.name, width), "bold"),)]
    lines += [
        tuple(segment for title, value in cells[start : start + 3] for segment in info_cell(title, str(value)))
        for start in range(0, len(cells), 3)
    ]
    lines.append((Segment(cut(f"Django Q {version}, {snapshot.broker}", width)),))
    return lines + [(Segment(part, "red"),) for problem in snapshot.problems for part in wrapped(problem, width)]


def info_cell(title: str, value: str) -> tuple[Segment, Segment]:
    """Return a title and its value, each in a column of the summary."""
    return Segment(aligned(title, INFO_CELL_WIDTH)), Segment(aligned(value, INFO_CELL_WIDTH), "bold")


def rate_of(totals: Totals | None) -> tuple[str, str]:
    """Return the rate of tasks over the last day, and its title: per second, minute, hour or day, depending on it."""
    units = [(86_400, _("Tasks/second")), (1_440, _("Tasks/minute")), (24, _("Tasks/hour")), (1, _("Tasks/day"))]
    if totals is None:
        return "-", units[-1][1]
    parts, title = next((unit for unit in units if totals.recent >= unit[0]), units[-1])
    return f"{totals.recent / parts:.2f}", title


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds, such as `0:01:15`."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"
