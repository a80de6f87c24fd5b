"""Packages that wait in the database, and what clusters leave there about themselves."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _
from django_q.exceptions import UnreadablePackage
from django_q.functions import describe
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import peek

NOT_OPTIONS = frozenset({"id", "name", "func", "args", "kwargs"})
"""The keys of a package that have a method of their own."""


class QueuedTask(dict[str, Any]):
    """An unpacked package that is read as `row.task`, and as `row.task()` in the manner of django-q."""

    def __call__(self) -> QueuedTask:
        """Return itself."""
        return self


class OrmQ(models.Model):
    """One package of one queue, offered to clusters whenever its lock is in the past."""

    key = models.CharField(_("queue"), max_length=100)
    payload = models.TextField(_("package"), help_text=_("Signed: a changed one is not run."))
    lock = models.DateTimeField(_("locked until"), null=True, help_text=_("Not offered to any cluster before."))
    lease = models.CharField(_("lease"), max_length=64, null=True, editable=False)

    due = models.BigIntegerField(_("due"), db_default=0, editable=False)
    """When the row is due: microseconds since 1970 in UTC. 0: `lock` says it."""
    own_lock = models.DateTimeField(_("own lock"), null=True, editable=False)
    """`lock` as it was written together with `due`."""

    class Meta:
        app_label = "django_q_orm"
        db_table = "django_q_ormq"
        verbose_name = _("Queued task")
        verbose_name_plural = _("Queued tasks")
        indexes = (
            models.Index(fields=["key", "lock"], name="django_q_ormq_key_lock"),
            models.Index(fields=["key", "due"], name="django_q_ormq_key_due"),
        )

    def __str__(self) -> str:
        return f"{self.key} {self.pk}"

    @cached_property
    def task(self) -> QueuedTask:
        """The package, unpacked; when it cannot be, one whose id is a star and the reason."""
        try:
            return QueuedTask(**PackageCodec.of(current_settings()).loads(self.payload))
        except UnreadablePackage as error:
            return QueuedTask(id=f"*{type(error.__cause__ or error).__name__}")
        except TypeError as error:  # signed, but not a dict
            return QueuedTask(id=f"*{type(error).__name__}")

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the package, read without unpickling the arguments; those of `task` if unreadable."""
        try:
            return peek(PackageCodec.of(current_settings()), self.payload)
        except UnreadablePackage as error:
            return {"id": f"*{type(error.__cause__ or error).__name__}"}

    def task_id(self) -> str | None:
        """Return the id of the task."""
        return self.task.get("id")

    def name(self) -> str | None:
        """Return the name of the task."""
        return self.task.get("name")

    def func(self) -> str | None:
        """Return the dotted path of the function, or a description where it has none."""
        func = self.task.get("func")
        return None if func is None else describe(func)

    def group(self) -> str | None:
        """Return the label the task shares with others."""
        return self.task.get("group")

    def args(self) -> tuple[Any, ...] | None:
        """Return the positional arguments."""
        return self.task.get("args")

    def kwargs(self) -> dict[str, Any] | None:
        """Return the keyword arguments."""
        return self.task.get("kwargs")

    def q_options(self) -> dict[str, Any]:
        """Return everything else the package says."""
        return {key: value for key, value in self.task.items() if key not in NOT_OPTIONS}


class OrmStat(models.Model):
    """The statistics of one cluster, for as long as it publishes them."""

    key = models.CharField(_("cluster"), max_length=255, primary_key=True)
    value = models.TextField(_("statistics"))
    expires = models.DateTimeField(_("expires"))

    class Meta:
        app_label = "django_q_orm"
        db_table = "django_q_ormstat"
        verbose_name = _("Statistics of a cluster")
        verbose_name_plural = _("Statistics of clusters")

    def __str__(self) -> str:
        return self.key
