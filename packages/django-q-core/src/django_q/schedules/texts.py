"""Texts about schedules for the admin and the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from django_q.clock import zone_of
from django_q.exceptions import ScheduleError
from django_q.models import Schedule
from django_q.schedules.upcoming import upcoming

if TYPE_CHECKING:
    from datetime import datetime

    from django_q.settings import ClusterSettings


def type_of(schedule: Schedule) -> str:
    """Return the type of a schedule, with its cron expression or its number of minutes."""
    detail = {Schedule.CRON: f" {schedule.cron}", Schedule.MINUTES: f" {schedule.minutes}"}
    return f"{schedule.get_schedule_type_display()}{detail.get(schedule.schedule_type, '')}"


def next_runs(schedule: Schedule, count: int, settings: ClusterSettings) -> list[str]:
    """Return the next runs of a schedule in local time, or the reason why there are none.

    Args:
        schedule: the schedule.
        count: maximum number of runs.
        settings: settings with the time zone.
    """
    if schedule.repeats == 0:
        return [_("paused")]
    try:
        return [in_local_time(moment, settings) for moment in upcoming(schedule, count, settings)]
    except ScheduleError as error:
        return [str(error)]


def in_local_time(moment: datetime, settings: ClusterSettings) -> str:
    """Return a time in the time zone of the settings, with its name; without `USE_TZ`, as it is."""
    if not settings.time_zone:
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    return f"{moment.astimezone(zone_of(settings.time_zone)):%Y-%m-%d %H:%M:%S %Z}"
