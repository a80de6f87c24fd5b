"""Model of schedules, which send a task once or repeatedly."""

from __future__ import annotations

from datetime import datetime
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Final, Self

from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections, models, router
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_q import recurrence
from django_q.arguments import read_args, read_kwargs
from django_q.clock import in_project_time, rezoned, zone_of
from django_q.exceptions import UnreadableArguments
from django_q.models.task import ID_LENGTH, Task
from django_q.recurrence import Recurrence, Slot
from django_q.settings import current_settings
from django_q.settings.rules import is_dead_letter_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_q.settings import ClusterSettings


MAX_PK_DIGITS = 19
"""Number of digits of the largest 64-bit integer."""


def validate_cron(value: str) -> None:
    """Check a cron expression.

    Raises:
        ValidationError: it is invalid.
    """
    if error := recurrence.cron_error(value):
        raise ValidationError(error)


def validate_kwarg(value: str) -> None:
    """Check the name of a keyword argument.

    Raises:
        ValidationError: no argument can have this name.
    """
    if not value.isidentifier() or iskeyword(value):
        raise ValidationError(_("%(value)s is not the name of a keyword argument."), params={"value": value})


def validate_func(value: str) -> None:
    """Check the form of a function's dotted path. The function itself is looked up when the task is sent.

    Raises:
        ValidationError: the text is no dotted path.
    """
    if not all(part.isidentifier() for part in value.split(".")):
        text = _("%(value)s is not a dotted path, such as module.tasks.function.")
        raise ValidationError(text, params={"value": value})


DATE_COLUMNS: Final = frozenset({"next_run", "retry_at"})
"""Columns with dates."""


class Schedule(models.Model):
    """Task that is sent at certain times. Its tasks have the name of the schedule as their group, or its id.

    Names are unique. Schedules that shared a name before this rule existed keep it.
    """

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
    func = models.CharField(
        _("function"), max_length=256, validators=[validate_func], help_text=_("e.g. module.tasks.function")
    )
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
        help_text=_("Cron expression for the Cron type, e.g. 0 22 * * 1-5; the day L is the last of the month"),
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

    catch_up = models.BooleanField(
        _("catch up"),
        null=True,
        blank=True,
        default=None,
        help_text=_("Whether slots that passed while no cluster ran are made up for; unknown: as the settings say"),
    )
    overlap = models.BooleanField(
        _("overlap"),
        default=True,
        db_default=True,
        help_text=_("Whether it is sent while its previous task still waits or runs"),
    )
    in_code = models.BooleanField(_("in code"), default=False, db_default=False, editable=False)
    """True if code of the project declares this schedule. It is updated from the code when a cluster starts."""
    last_error = models.TextField(_("last error"), null=True, default=None, editable=False)
    """Reason why the last slot could not be sent; None if it was sent."""
    retry_at = models.DateTimeField(_("retried at"), null=True, default=None, editable=False)
    """Time at which that slot is tried again."""
    wall = models.CharField(_("local time"), max_length=32, null=True, default=None, editable=False)
    """Nominal local time of `next_run` inside a DST gap; None outside of one."""
    runs = models.IntegerField(_("runs"), default=0, db_default=0, editable=False)
    """Number of past slots, which distinguishes two runs of the same slot."""
    waiting_for = models.CharField(_("waiting for"), max_length=ID_LENGTH, null=True, default=None, editable=False)
    """Id of the task that must end before the next one is sent; only without `overlap`."""
    zone = models.CharField(max_length=64, null=True, default=None, editable=False)
    """Time zone of the dates in the database, if the database stores none with them."""
    name_key = models.CharField(max_length=100, null=True, default=None, unique=True, editable=False)
    """Name of the schedule, if it is unique; None for names that schedules of an earlier version share."""

    class Meta:
        app_label = "django_q"
        verbose_name = _("Scheduled task")
        verbose_name_plural = _("Scheduled tasks")
        ordering = ("next_run",)
        indexes = (models.Index(fields=["next_run"], name="django_q_schedule_next_run"),)
        permissions = (("run_schedule", "Can run Scheduled task"),)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "next_run" in kwargs:
            kwargs["next_run"] = as_stored(kwargs["next_run"])
        self._has_next_run = bool(args) or "next_run" in kwargs
        super().__init__(*args, **kwargs)

    def __str__(self) -> str:
        return self.name or self.func

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the schedule. A new one of the Cron type without `next_run` begins with the first slot of `cron`.

        Raises:
            IntegrityError: a schedule with this name exists.
        """
        if self._state.adding and self.schedule_type == self.CRON and not self._has_next_run:
            first = self.recurrence().first(timezone.now())
            self.next_run = first.moment if first else None
        only = kwargs.get("update_fields")
        if only is None or "name" in only:
            self.name_key = self._held_name()
            kwargs["update_fields"] = only if only is None else {*only, "name_key"}
        if only is None:
            self.last_error = self.retry_at = None
        if only is None or not DATE_COLUMNS.isdisjoint(only):
            using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
            self.zone = zone_of_columns(connections[using])
            kwargs["update_fields"] = only if only is None else {*kwargs["update_fields"], "zone"}
        super().save(*args, **kwargs)

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **more: Any) -> Self:
        """Create a schedule from a row. Its dates are those that were saved, also if `TIME_ZONE` has changed."""
        schedule = super().from_db(db, field_names, values, **more)
        written, read = vars(schedule).get("zone"), zone_of_columns(connections[db or DEFAULT_DB_ALIAS])
        if written and read and written != read:
            schedule.zone = read
            for name in DATE_COLUMNS.intersection(vars(schedule)):
                value = getattr(schedule, name)
                setattr(schedule, name, value and rezoned(value, written, read))
        return schedule

    def clean(self) -> None:
        """Validate the field of the type, the arguments, the cluster and the name.

        Raises:
            ValidationError: one of them is invalid, or the name is taken.
        """
        if is_dead_letter_queue(self.cluster):
            raise ValidationError({"cluster": _("Names that end in -dead are those of dead-letter queues.")})
        if self.schedule_type == self.CRON and not self.cron:
            raise ValidationError({"cron": _("A schedule of the Cron type needs a cron expression.")})
        if self.schedule_type == self.MINUTES and not self.minutes:
            raise ValidationError({"minutes": _("A schedule of the Minutes type needs a number of minutes.")})
        self._clean_text("args", read_args)
        self._clean_text("kwargs", read_kwargs)
        if self.name and self.others_named(self.name).filter(name_key=self.name).exists():
            raise ValidationError({"name": _("There is a schedule of this name.")})

    def _clean_text(self, field: str, read: Callable[[str | None], object]) -> None:
        try:
            read(getattr(self, field))
        except UnreadableArguments as error:
            raise ValidationError({field: str(error)}) from error

    def _held_name(self) -> str | None:
        name = self.name or None
        if self._state.adding or self.name_key or not name:
            return name
        return None if self.others_named(name).exists() else name

    def others_named(self, name: str) -> models.QuerySet[Schedule]:
        """Return the other schedules with a name."""
        db = self._state.db or router.db_for_write(type(self), instance=self)
        return type(self)._base_manager.using(db).filter(name=name).exclude(pk=self.pk)

    # dates

    def recurrence(self, settings: ClusterSettings | None = None) -> Recurrence:
        """Return the rule of the schedule's slots.

        Args:
            settings: settings with the time zone; None for the current ones.
        """
        zone = (settings or current_settings()).time_zone
        return Recurrence(
            kind=self.schedule_type, zone=zone_of(zone) if zone else None, minutes=self.minutes, cron=self.cron
        )

    def slot(self) -> Slot | None:
        """Return the slot of `next_run`; None if there is none."""
        if self.next_run is None:
            return None
        return Slot(in_project_time(self.next_run), datetime.fromisoformat(self.wall) if self.wall else None)

    def move_to(self, slot: Slot) -> None:
        """Set the next run to a slot."""
        self.next_run, self.wall = slot.moment, slot.wall_time.isoformat() if slot.wall_time else None

    def calculate_next_run(self, next_run: datetime | None = None) -> datetime | None:
        """Return the slot after a given time; None if there is none.

        Args:
            next_run: the time; None for the schedule's own `next_run`.
        """
        slot = Slot(in_project_time(next_run)) if next_run else self.slot()
        following = self.recurrence().next(slot) if slot else None
        return following.moment if following else None

    # the last task

    def last_task(self) -> Task | None:
        """Return the last task of this schedule, if it is finished and not pruned."""
        return Task.objects.filter(pk=self.task).only("name", "success").first() if self.task else None

    @classmethod
    def task_ended(cls, pk: str, task_id: str) -> None:
        """Let a schedule without overlap send its next task, if it waits for this one.

        Args:
            pk: primary key of the schedule, from the package of its task.
            task_id: id of a task whose outcome is final.
        """
        if pk.isascii() and pk.isdecimal() and len(pk) < MAX_PK_DIGITS:
            cls.objects.filter(pk=int(pk), waiting_for=task_id).update(waiting_for=None)

    def success(self) -> bool | None:
        """Return True if the last task succeeded, or None if there is none."""
        task = self.last_task()
        return task.success if task else None

    def last_run(self) -> str | None:
        """Return a link to the last task's page in the admin, or None if there is none."""
        task = self.last_task()
        return link_to(task.pk, task.name, success=task.success) if task else None


def zone_of_columns(connection: BaseDatabaseWrapper) -> str | None:
    """Return the time zone in which a database stores dates; None if it stores a zone with each date."""
    return None if connection.features.supports_timezones else connection.timezone_name


def as_stored(value: Any) -> Any:
    """Return a date, also one of arrow, in the form of the project: naive and local without `USE_TZ`."""
    value = recurrence.as_datetime(value)
    return in_project_time(value) if isinstance(value, datetime) else value


def link_to(task_id: str, name: str, *, success: bool) -> str:
    """Return a link to a task's page in the admin, or its name if the site has no admin."""
    try:
        url = reverse(f"admin:django_q_{'success' if success else 'failure'}_change", args=(task_id,))
    except NoReverseMatch:
        return format_html("[{}]", name)
    return format_html('<a href="{}">[{}]</a>', url, name)
