"""Admin page that stops a cluster, after a confirmation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import HttpResponseRedirect
from django.utils.translation import gettext as _

from django_q.admin.overview import UNAVAILABLE, Overview
from django_q.admin.pages import tell
from django_q.brokers import shared_broker
from django_q.cluster.stop_command import request_stop
from django_q.models import Cluster
from django_q.settings import current_settings
from django_q.status import IDLE, STARTING, WORKING
from django_q.terminal.snapshot import clusters_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse

    from django_q.admin.overview import View
    from django_q.terminal.snapshot import ClusterRow


class StopPage(Overview):
    """Page of clusters, with a second page on which users with the permission `stop_cluster` stop one of them."""

    def views(self) -> Mapping[str, tuple[str, View]]:
        """Return the page that asks for a confirmation."""
        return {**super().views(), "stop/": ("stop", self.stop_view)}

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Return True for users who may stop clusters."""
        user: Any = request.user
        return user.has_perm(f"{self.opts.app_label}.stop_cluster")

    def stop_view(self, request: HttpRequest) -> HttpResponse:
        """Return the page that asks for a confirmation; after it, stop the cluster and return to the clusters.

        Raises:
            PermissionDenied: the user may not stop clusters.
        """
        if not self.has_stop_permission(request):
            raise PermissionDenied
        try:
            row = running_cluster(request.GET.get("id", ""))
            if row is not None and request.method == "POST":
                self.stop(request, row)
        except UNAVAILABLE as error:
            tell(self, request, _("The cluster cannot be stopped now: %s"), error)
        else:
            if row is None:
                self.warn(request, _("The cluster does not run any more, or it stops already."))
            elif request.method != "POST":
                title = _("Stop cluster %s") % name_of(row)
                return self.rendered(request, "admin/django_q/stop_cluster.html", title, {"cluster": row})
        return HttpResponseRedirect(self.address("changelist"))

    def stop(self, request: HttpRequest, row: ClusterRow) -> None:
        """Write the command and an entry in the admin's log, or neither of them, and show a message.

        Raises:
            django.db.DatabaseError: the database is unavailable.
        """
        with transaction.atomic(using=router.db_for_write(LogEntry)):
            self.log_change(
                request, Cluster(id=row.cluster_id, name=name_of(row), queue=row.queue or ""), _("Stopped.")
            )
            request_stop(row.cluster_id)
        sentence = _("Cluster %s stops when it has read the command, within a few seconds.") % name_of(row)
        self.message_user(request, sentence, messages.SUCCESS)


def can_stop(row: ClusterRow) -> bool:
    """Return True if a cluster reads commands and does not stop yet. Those of the public editions read none."""
    return bool(row.version) and row.status in (STARTING, WORKING, IDLE)


def running_cluster(cluster_id: str) -> ClusterRow | None:
    """Return the cluster with an id; None if it does not run, or cannot be stopped.

    Raises:
        BrokerUnavailable: the statistics cannot be read.
    """
    rows = clusters_of(shared_broker(current_settings()))
    return next((row for row in rows if row.cluster_id == cluster_id and can_stop(row)), None)


def name_of(row: ClusterRow) -> str:
    """Return the host and the process id of a cluster, which the page shows."""
    return f"{row.host} {row.pid}"
