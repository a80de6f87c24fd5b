"""Judges whether clusters work and keep up: the reasons of `qhealth`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_q.brokers import broker_of, shared_broker
from django_q.brokers.waiting import next_wait
from django_q.records.waiting import oldest_wait
from django_q.status import IDLE, WORKING

from .snapshot import Problems, queue_names, queue_row

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

    from .snapshot import ClusterRow


class HealthCheck:
    """Checks the clusters of a project, and collects the reasons why they are not healthy.

    Args:
        settings: settings of the project.
        cluster: name of the cluster, which is that of its queue, or a cluster id; None means all.
    """

    def __init__(self, settings: ClusterSettings, cluster: str | None = None) -> None:
        self.settings, self.cluster = settings, cluster
        self.problems = Problems()
        found = self.problems.reading_clusters(shared_broker(settings))
        self.clusters = [row for row in found if cluster in (None, row.queue, row.cluster_id)]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences about what is not healthy; empty if all is."""
        return tuple(self.problems.sentences)

    @property
    def healthy_clusters(self) -> list[ClusterRow]:
        """Clusters that are idle or working."""
        return [row for row in self.clusters if row.status in (IDLE, WORKING)]

    def check_clusters(self) -> None:
        """Require that a cluster is idle or working."""
        if self.healthy_clusters or self.problems.sentences:
            return
        if not self.clusters:
            text = _("No cluster publishes statistics.") if self.cluster is None else _("No cluster '%s' runs.")
            self.problems.add(text if self.cluster is None else text % self.cluster)
            return
        states = ", ".join(f"{row.host} {row.pid} {_(row.status)}" for row in self.clusters)
        self.problems.add(_("No cluster is idle or working: %s.") % states)

    def check_queues(self, max_queue: int) -> None:
        """Require that at most *max_queue* packages wait in each queue."""
        rows = self.problems.reading(lambda: [queue_row(name) for name in self.queues()], [])
        for row in rows:
            if row.waiting > max_queue:
                values = {"count": row.waiting, "queue": row.name, "limit": max_queue}
                text = ngettext(
                    "%(count)d task waits in queue '%(queue)s', more than %(limit)d.",
                    "%(count)d tasks wait in queue '%(queue)s', more than %(limit)d.",
                    row.waiting,
                )
                self.problems.add(text % values)

    def check_age(self, max_age: float) -> None:
        """Require that no task has waited for more than *max_age* seconds since it could be executed."""
        queues = self.queues()
        waits = self.problems.reading(lambda: [next_wait(broker_of(name)) or 0.0 for name in queues], [])
        seconds = max([*waits, self.problems.reading(lambda: oldest_wait(queues), 0.0)])
        if seconds > max_age:
            self.problems.add(
                _("A task has waited for %(seconds)d seconds, more than %(limit)g.")
                % {"seconds": seconds, "limit": max_age}
            )

    def queues(self) -> list[str]:
        """Return the names of the queues to check: those of the chosen clusters, or all."""
        if self.cluster is None:
            return queue_names(self.settings, self.clusters)
        return sorted({row.queue for row in self.clusters if row.queue}) or [self.cluster]

    def summary(self) -> str:
        """Return the sentence about healthy clusters."""
        count = len(self.healthy_clusters)
        return ngettext(
            "%(count)d of %(all)d cluster is healthy.", "%(count)d of %(all)d clusters are healthy.", len(self.clusters)
        ) % {"count": count, "all": len(self.clusters)}
