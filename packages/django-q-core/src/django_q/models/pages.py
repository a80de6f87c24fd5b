"""Models of the admin's pages of queues and clusters. They have permissions, and no table of their own."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from django_q.models.record import Record


class Queue(Record):
    """Page of the queues and their packages. A proxy, because tools such as `dumpdata` read the table of a model."""

    class Meta:
        app_label = "django_q"
        proxy = True
        verbose_name = _("Queue")
        verbose_name_plural = _("Queues")
        default_permissions = ("view",)
        permissions = (
            ("requeue_dead_letter", "Can requeue dead letters"),
            ("delete_dead_letter", "Can delete dead letters"),
        )

    def __str__(self) -> str:
        return f"{self.queue} {self.pk}"


class Cluster(Record):
    """Page of the running clusters. A proxy for the same reason."""

    class Meta:
        app_label = "django_q"
        proxy = True
        verbose_name = _("Cluster")
        verbose_name_plural = _("Clusters")
        default_permissions = ("view",)
        permissions = (("stop_cluster", "Can stop clusters"),)

    def __str__(self) -> str:
        return self.name
