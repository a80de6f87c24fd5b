"""Model of commands to clusters."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_q.models.batch import LABEL_LENGTH
from django_q.wire.targets import GROUP, TASK


class Command(models.Model):
    """Command to clusters: do not execute a task, or the tasks of a group, any more; or stop one cluster.

    A cluster reads the table once a second. A cancellation applies to tasks that were sent before it, even if they are
    executed much later. A command is deleted when it expires.
    """

    class Kind(models.TextChoices):
        """Kinds of commands."""

        CANCEL_TASK = TASK, _("cancel a task")
        CANCEL_GROUP = GROUP, _("cancel a group")
        STOP_CLUSTER = "cluster", _("stop a cluster")

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    target = models.CharField(max_length=LABEL_LENGTH)
    """Id of the task, label of the group, or id of the cluster."""
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    """Time at which the command is deleted."""

    class Meta:
        app_label = "django_q"
        verbose_name = _("Command")
        verbose_name_plural = _("Commands")
        indexes = (
            models.Index(fields=["created_at"], name="django_q_command_created"),
            models.Index(fields=["target"], name="django_q_command_target"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"
