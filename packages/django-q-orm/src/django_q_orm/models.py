"""Models of queued packages and of the statistics of clusters."""

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
"""Keys of a package that are not options. `OrmQ` has a method for each."""


class QueuedTask(dict[str, Any]):
    """A decoded package. `row.task` is the attribute of django-q2, and `row.task()` the method of django-q."""

    def __call__(self) -> QueuedTask:
        """Return itself."""
        return self


class OrmQ(models.Model):
    """One package of one queue. It is delivered when its lock is in the past."""

    key = models.CharField(_("queue"), max_length=100)
    payload = models.TextField(_("package"), help_text=_("Signed: a changed one is not run."))
    lock = models.DateTimeField(_("locked until"), null=True, help_text=_("Not offered to any cluster before."))
    lease = models.CharField(_("lease"), max_length=64, null=True, editable=False)

    due = models.BigIntegerField(_("due"), db_default=0, editable=False)
    """Time at which the row is due, in microseconds since 1970 in UTC. 0 means that `lock` is used."""
    own_lock = models.DateTimeField(_("own lock"), null=True, editable=False)
    """Value of `lock` when `due` was written."""
    rank = models.SmallIntegerField(_("rank"), db_default=0, editable=False)
    """The negative priority: rows are delivered in ascending order of it. 0 if another edition inserted the row."""

    class Meta:
        app_label = "django_q_orm"
        db_table = "django_q_ormq"
        verbose_name = _("Queued task")
        verbose_name_plural = _("Queued tasks")
        permissions = (("requeue_ormq", "Can requeue Queued task"),)
        indexes = (
            models.Index(fields=["key", "lock"], name="django_q_ormq_key_lock"),
            models.Index(fields=["key", "due"], name="django_q_ormq_key_due"),
            models.Index(fields=["key", "rank", "lock"], name="django_q_ormq_key_rank_lock"),
        )

    def __str__(self) -> str:
        return f"{self.key} {self.pk}"

    @cached_property
    def task(self) -> QueuedTask:
        """Decoded package. If it is unreadable, its id is `*` and the reason, and it has no other key."""
        try:
            return QueuedTask(**PackageCodec.of(current_settings()).loads(self.payload))
        except UnreadablePackage as error:
            return QueuedTask(id=f"*{type(error.__cause__ or error).__name__}")
        except TypeError as error:  # signed, but not a dict
            return QueuedTask(id=f"*{type(error).__name__}")

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Metadata of the package, read without its arguments. If unreadable, the id is `*` and the reason."""
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
        """Return the dotted path of the function, or a description if it has none."""
        func = self.task.get("func")
        return None if func is None else describe(func)

    def group(self) -> str | None:
        """Return the group of the task."""
        return self.task.get("group")

    def args(self) -> tuple[Any, ...] | None:
        """Return the positional arguments."""
        return self.task.get("args")

    def kwargs(self) -> dict[str, Any] | None:
        """Return the keyword arguments."""
        return self.task.get("kwargs")

    def q_options(self) -> dict[str, Any]:
        """Return the options of the package."""
        return {key: value for key, value in self.task.items() if key not in NOT_OPTIONS}


class OrmStat(models.Model):
    """Statistics of one cluster, until they expire."""

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
