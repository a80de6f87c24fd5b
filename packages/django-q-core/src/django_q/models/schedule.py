"""A task to come, once or again and again."""

from __future__ import annotations

from keyword import iskeyword

from django.core.exceptions import ValidationError
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_q import recurrence
from django_q.models.task import Task


def validate_cron(value: str) -> None:
    """Refuse what is no cron expression."""
    if error := recurrence.cron_error(value):
        raise ValidationError(error)


def validate_kwarg(value: str) -> None:
    """Refuse what cannot be the name of a keyword argument."""
    if not value.isidentifier() or iskeyword(value):
        raise ValidationError(_("%(value)s is not the name of a keyword argument."), params={"value": value})


class Schedule(models.Model):
    """When to send which task; the tasks it sends have its name, or else its id, as their group."""

    ONCE = "O"
    MINUTES = "I"
    HOURLY = "H"
    DAILY = "D"
    WEEKLY = "W"
    BIWEEKLY = "BW"
    MONTHLY = "M"
    BIMONTHLY = "BM"
    QUARTERLY = "Q"
    YEARLY = "Y"
    CRON = "C"
    TYPE = (
        (ONCE, _("Once")),
        (MINUTES, _("Minutes")),
        (HOURLY, _("Hourly")),
        (DAILY, _("Daily")),
        (WEEKLY, _("Weekly")),
        (BIWEEKLY, _("Biweekly")),
        (MONTHLY, _("Monthly")),
        (BIMONTHLY, _("Bimonthly")),
        (QUARTERLY, _("Quarterly")),
        (YEARLY, _("Yearly")),
        (CRON, _("Cron")),
    )

    name = models.CharField(_("name"), max_length=100, null=True, blank=True)
    func = models.CharField(_("function"), max_length=256, help_text=_("e.g. module.tasks.function"))
    hook = models.CharField(
        _("hook"), max_length=256, null=True, blank=True, help_text=_("e.g. module.tasks.result_function")
    )
    args = models.TextField(_("arguments"), null=True, blank=True, help_text=_("e.g. 1, 2, 'John'"))
    kwargs = models.TextField(_("keyword arguments"), null=True, blank=True, help_text=_("e.g. x=1, y=2, name='John'"))
    schedule_type = models.CharField(_("schedule type"), max_length=2, choices=TYPE, default=ONCE)
    minutes = models.PositiveSmallIntegerField(
        _("minutes"), null=True, blank=True, help_text=_("Number of minutes for the Minutes type")
    )
    repeats = models.IntegerField(_("repeats"), default=-1, help_text=_("n = n times, 0 = paused, -1 = forever"))
    next_run = models.DateTimeField(_("next run"), default=timezone.now, null=True)
    cron = models.CharField(
        _("cron"),
        max_length=100,
        null=True,
        blank=True,
        validators=[validate_cron],
        help_text=_("Cron expression for the Cron type"),
    )
    task = models.CharField(_("last task"), max_length=100, null=True, editable=False)
    cluster = models.CharField(
        _("cluster"),
        max_length=100,
        null=True,
        blank=True,
        default=None,
        help_text=_("Name of the cluster that runs it; empty for the default one"),
    )
    intended_date_kwarg = models.CharField(
        _("intended date keyword"),
        max_length=100,
        null=True,
        blank=True,
        validators=[validate_kwarg],
        help_text=_("Name of a keyword argument that tells the task for which moment it was scheduled"),
    )

    class Meta:
        app_label = "django_q"
        verbose_name = _("Scheduled task")
        verbose_name_plural = _("Scheduled tasks")
        ordering = ("next_run",)
        indexes = (models.Index(fields=["next_run"], name="django_q_schedule_next_run"),)

    def __str__(self) -> str:
        return self.func

    def clean(self) -> None:
        """Refuse a type without the field that makes it one."""
        if self.schedule_type == self.CRON and not self.cron:
            raise ValidationError({"cron": _("A schedule of the Cron type needs a cron expression.")})
        if self.schedule_type == self.MINUTES and not self.minutes:
            raise ValidationError({"minutes": _("A schedule of the Minutes type needs a number of minutes.")})

    def last_task(self) -> Task | None:
        """Return the last task this schedule sent, if it is finished and still kept."""
        return Task.objects.filter(pk=self.task).only("name", "success").first() if self.task else None

    def success(self) -> bool | None:
        """Return whether the last task succeeded, or None when there is none."""
        task = self.last_task()
        return task.success if task else None

    def last_run(self) -> str | None:
        """Return a link to the last task's page in the admin, or None when there is none."""
        task = self.last_task()
        return link_to(task.pk, task.name, success=task.success) if task else None


def link_to(task_id: str, name: str, *, success: bool) -> str:
    """Return a link to a task's page in the admin: just its name on a site without one."""
    try:
        url = reverse(f"admin:django_q_{'success' if success else 'failure'}_change", args=(task_id,))
    except NoReverseMatch:
        return format_html("[{}]", name)
    return format_html('<a href="{}">[{}]</a>', url, name)
