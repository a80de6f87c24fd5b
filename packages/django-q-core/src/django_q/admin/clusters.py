"""Admin page of the running clusters, as `qmonitor` shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import admin
from django.urls import NoReverseMatch, reverse

from django_q.admin.charts import chart_values
from django_q.admin.queue_rows import queues_of
from django_q.admin.stop_page import StopPage, can_stop
from django_q.models import Cluster
from django_q.terminal.snapshot import Collector, Problems
from django_q.terminal.views import clock, emptiness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

    from django_q.terminal.snapshot import ClusterRow, RunningRow, WorkerTask


class ShownCluster(NamedTuple):
    """A cluster, with values as texts."""

    row: ClusterRow
    uptime: str
    processes: list[tuple[str, str]]
    """Roles and process ids."""
    can_stop: bool


class ShownTask(NamedTuple):
    """A task that a worker executes, with values as texts."""

    row: RunningRow
    time: str
    url: str
    """Address of its record; empty if that has no page."""


class ShownWorker(NamedTuple):
    """A worker of a cluster, and its task, with values as texts."""

    host: str
    cluster: int
    """Id of the cluster."""
    pid: int
    task: WorkerTask | None
    """None if it waits, or has begun its task just now."""
    time: str
    url: str
    """Address of the record of its task; empty if the task is not tracked."""


@admin.register(Cluster)
class ClusterAdmin(StopPage):
    """Clusters with their processes, queues with their sizes, and the tracked tasks that workers execute.

    A script replaces the tables every few seconds. Without it, the page has a link that does it.
    """

    main_template = "admin/django_q/clusters.html"

    class Media:
        js = ("django_q/live.js",)

    def values(self, request: HttpRequest) -> dict[str, Any]:
        """Return a snapshot of the clusters."""
        collector, problems = Collector(counts_rows=False), Problems()
        snapshot = collector.snapshot()
        problems.add(*snapshot.problems)
        queues = queues_of(snapshot, problems)
        return {
            "snapshot": snapshot,
            "problems": problems.sentences,
            "lists": collector.broker.supports_listing,
            "clusters": [
                ShownCluster(row, clock(row.uptime), processes_of(row), can_stop(row)) for row in snapshot.clusters
            ],
            "stop_url": self.address("stop") if self.has_stop_permission(request) else "",
            "workers": [worker for row in snapshot.clusters for worker in self.workers_of(row)],
            "queues": queues,
            "running": [ShownTask(row, clock(row.seconds), self.record_url(row.id)) for row in snapshot.running],
            "may_cancel": self.may_cancel(request),
            "empty": {view: emptiness(view) for view in ("clusters", "queues", "running")},
            **chart_values(),
        }

    def workers_of(self, row: ClusterRow) -> Iterator[ShownWorker]:
        """Yield the workers of a cluster."""
        tasks = {task.worker: task for task in row.tasks}
        for pid in row.workers:
            task = tasks.get(pid)
            url = self.record_url(task.id) if task is not None and task.is_tracked else ""
            yield ShownWorker(row.host, row.pid, pid, task, "" if task is None else clock(task.seconds), url)

    def may_cancel(self, request: HttpRequest) -> bool:
        """Return True if the user may press the button *Cancel task* of a record."""
        user: Any = request.user
        label = self.opts.app_label
        may_open = user.has_perm(f"{label}.view_record") or user.has_perm(f"{label}.change_record")
        return may_open and user.has_perm(f"{label}.cancel_record")

    def record_url(self, task_id: str) -> str:
        """Return the address of the page of a tracked task, which has the button *Cancel task*."""
        try:
            return reverse("admin:django_q_record_change", args=[task_id], current_app=self.admin_site.name)
        except NoReverseMatch:
            return ""


def processes_of(row: ClusterRow) -> list[tuple[str, str]]:
    """Return role and id of the processes of a cluster, as texts."""
    roles = [("sentinel", row.sentinel), ("pusher", row.pusher), ("monitor", row.monitor)]
    return [(role, str(pid)) for role, pid in [*roles, *(("worker", pid) for pid in row.workers)] if pid]
