"""`manage.py qschedule`: lists schedules with their next runs, and runs one now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from django_q.brokers import get_broker
from django_q.exceptions import DjangoQError
from django_q.models import Schedule
from django_q.schedules.due import DueSchedules
from django_q.schedules.texts import next_runs, type_of
from django_q.settings import current_settings
from django_q.terminal.command import TranslatedCommand
from django_q.text import one_line

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from django_q.settings import ClusterSettings


class Command(TranslatedCommand):
    """List schedules, or run one now."""

    requires_system_checks = ()
    help = gettext_noop("Lists schedules with their next runs in local time, or runs one now.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--run", metavar="NAME", help=_("Run this schedule now, by name or id; its dates stay."))
        parser.add_argument("--count", type=int, default=5, help=_("Number of runs to show of each (5)."))

    def handle(self, *args: Any, run: str | None = None, count: int = 5, **options: Any) -> None:
        """List the schedules, or run one."""
        settings = current_settings()
        if run:
            self._run(run, settings)
            return
        schedules = Schedule.objects.order_by("next_run", "pk")
        if not schedules:
            self.stdout.write(_("There are no schedules."))
        for schedule in schedules:
            for line in lines(schedule, settings, count):
                self.stdout.write(line)

    def _run(self, name: str, settings: ClusterSettings) -> None:
        wanted = Q(name=name) | (Q(pk=int(name)) if name.isdecimal() else Q())
        found = list(Schedule.objects.filter(wanted))
        by_name = [schedule for schedule in found if schedule.name == name] or found
        if len(by_name) != 1:
            text = ngettext(
                "%(count)d schedule is called '%(name)s': 'manage.py qschedule' lists all, with ids.",
                "%(count)d schedules are called '%(name)s': 'manage.py qschedule' lists all, with ids.",
                len(by_name),
            )
            raise CommandError(text % {"count": len(by_name), "name": one_line(name)})
        try:
            task_id = DueSchedules(settings, get_broker(settings=settings)).run_now(by_name[0])
        except DjangoQError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(_("Sent %(func)s as task %(id)s.") % {"func": by_name[0].func, "id": task_id})


def lines(schedule: Schedule, settings: ClusterSettings, count: int) -> list[str]:
    """Return the lines of one schedule: its definition, then its next runs.

    Args:
        schedule: the schedule.
        settings: settings with the time zone.
        count: maximum number of runs.
    """
    about = [f"[{schedule.pk}]", schedule.name or "-", schedule.func, type_of(schedule), *marks(schedule)]
    is_never_due = schedule.slot() is None and schedule.repeats != 0
    runs = [_("never")] if is_never_due else next_runs(schedule, count, settings)
    return ["  ".join(about), *(f"    {run}" for run in runs)]


def marks(schedule: Schedule) -> list[str]:
    """Return the properties of a schedule that differ from the defaults."""
    found = [_("cluster %s") % schedule.cluster] if schedule.cluster else []
    if schedule.in_code:
        found.append(_("in code"))
    if schedule.repeats > 0:
        found.append(ngettext("%d time", "%d times", schedule.repeats) % schedule.repeats)
    if schedule.last_error:
        found.append(_("error: %s") % schedule.last_error)
    return found
