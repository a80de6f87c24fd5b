"""Model of the clusters' activity, for the charts of the admin."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_q.models.task import ID_LENGTH


class Activity(models.Model):
    """Numbers of the attempts that ended in one cluster within one minute.

    Only `django_q.cluster.activity` writes rows. They are deleted after a day.
    """

    id = models.BigAutoField(primary_key=True)
    minute = models.IntegerField()
    """Number of the minute since 1970 in UTC, which has no gaps and no time zone."""
    cluster_id = models.CharField(max_length=ID_LENGTH)
    """Id of the cluster, without hyphens."""
    successes = models.IntegerField()
    failures = models.IntegerField()
    waits = models.IntegerField()
    """Number of first attempts, which are those with a waiting time."""
    wait_seconds = models.FloatField()
    """Sum of the times between sending and start of these attempts."""

    class Meta:
        app_label = "django_q"
        verbose_name = _("Activity")
        verbose_name_plural = _("Activities")
        constraints = (models.UniqueConstraint(fields=["minute", "cluster_id"], name="django_q_activity_once"),)

    def __str__(self) -> str:
        return f"{self.cluster_id} {self.minute}"
