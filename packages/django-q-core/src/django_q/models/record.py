"""Model of tracked tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_q.models.batch import LABEL_LENGTH, PATH_LENGTH
from django_q.models.indexes import ValueIndex
from django_q.models.task import ID_LENGTH
from django_q.wire.outcome import decode

if TYPE_CHECKING:
    from collections.abc import Sequence


class Status(models.TextChoices):
    """States of a tracked task."""

    QUEUED = "queued", _("queued")
    """It waits in the broker."""
    SCHEDULED = "scheduled", _("scheduled")
    """It waits for the time of its earliest execution."""
    RUNNING = "running", _("running")
    """A worker executes it."""
    RETRYING = "retrying", _("retrying")
    """An attempt has ended without success, and another one follows."""
    SUCCEEDED = "succeeded", _("succeeded")
    """It has returned."""
    FAILED = "failed", _("failed")
    """Its last attempt has failed."""
    CANCELLED = "cancelled", _("cancelled")
    """It was cancelled."""


WAITING: Sequence[Status] = (Status.QUEUED, Status.SCHEDULED, Status.RETRYING)
"""States in which no worker executes the task."""

FINAL: Sequence[Status] = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
"""States after which nothing follows."""


class Record(models.Model):
    """State of a tracked task, from the moment it is sent.

    The sender inserts the row. Only `django_q.records` changes it. A task that is not tracked has none.
    """

    id = models.CharField(_("task id"), max_length=ID_LENGTH, primary_key=True, editable=False)
    name = models.CharField(_("name"), max_length=LABEL_LENGTH)
    func = models.CharField(_("function"), max_length=PATH_LENGTH)
    group = models.CharField(_("group"), max_length=LABEL_LENGTH, null=True)
    queue = models.CharField(_("queue"), max_length=LABEL_LENGTH)
    """Name of the cluster that executes the task."""
    backend = models.CharField(_("back end"), max_length=LABEL_LENGTH, default="")
    """Alias of the back end in `TASKS` that sent the task; empty for a task of Django Q's own API."""
    priority = models.SmallIntegerField(_("priority"), default=0)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.QUEUED)
    enqueued_at = models.DateTimeField(_("enqueued"))
    """Time at which the task was sent."""
    run_after = models.DateTimeField(_("run after"), null=True)
    """Time of its earliest execution; None if it may run at once."""
    started_at = models.DateTimeField(_("started"), null=True)
    """Start of its first attempt."""
    last_attempted_at = models.DateTimeField(_("last attempted"), null=True)
    """Start of its last attempt."""
    finished_at = models.DateTimeField(_("finished"), null=True)
    """Time at which its status became final."""
    lease_ends_at = models.DateTimeField(null=True)
    """Time until which a running task counts as running. Its cluster extends it."""
    cancel_requested_at = models.DateTimeField(_("cancellation requested"), null=True)
    attempts = models.JSONField(_("attempts"), default=list)
    """The attempts, in order: dictionaries with the keys of `django_q.records.attempts.entry`."""
    arguments = models.TextField(null=True)
    """Positional and keyword arguments: encoded, or in JSON for a task of `django.tasks`."""
    result = models.TextField(null=True)
    """Return value of a success: encoded, or in JSON for a task of `django.tasks`."""

    class Meta:
        app_label = "django_q"
        verbose_name = _("Record")
        verbose_name_plural = _("Records")
        ordering = ("-enqueued_at",)
        indexes = (
            models.Index(fields=["status", "finished_at"], name="django_q_record_status"),
            ValueIndex(fields=["group"], name="django_q_record_group"),
            models.Index(fields=["enqueued_at"], name="django_q_record_enqueued"),
        )
        permissions = (("cancel_record", "Can cancel Record"),)

    def __str__(self) -> str:
        return self.name or self.id

    @property
    def is_finished(self) -> bool:
        """True if the status is final."""
        return self.status in FINAL

    @property
    def attempt_count(self) -> int:
        """Number of attempts that have started."""
        return len(self.attempts)

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments of the task."""
        return tuple(self._arguments[0])

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the task."""
        return dict(self._arguments[1])

    @property
    def return_value(self) -> Any:
        """Return value of a success; None for any other status."""
        return self._decoded(self.result)

    @property
    def _arguments(self) -> tuple[Sequence[Any], dict[str, Any]]:
        args, kwargs = self._decoded(self.arguments) or ((), {})
        return args, kwargs

    def _decoded(self, text: str | None) -> Any:
        if text is None:
            return None
        return json.loads(text) if self.backend else decode(text)
