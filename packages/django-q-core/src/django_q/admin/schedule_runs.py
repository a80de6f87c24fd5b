"""Computes the next runs of a schedule for its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.utils import timezone
from django.utils.translation import gettext

from django_q.clock import zone_of
from django_q.exceptions import ScheduleError
from django_q.schedules.upcoming import upcoming
from django_q.settings import current_settings

if TYPE_CHECKING:
    from datetime import datetime

    from django_q.models import Schedule

SHOWN_RUNS: Final = 5
"""Number of runs on the page of a schedule."""


def next_runs(schedule: Schedule) -> list[str]:
    """Return the next runs of a schedule in local time, or the reason why there are none."""
    if schedule.repeats == 0:
        return [gettext("paused")]
    try:
        return [in_local_time(moment) for moment in upcoming(schedule, SHOWN_RUNS)]
    except ScheduleError as error:
        return [str(error)]


def in_local_time(moment: datetime) -> str:
    """Return a time in the time zone of the cluster, or else that of Django, with the name of the zone."""
    if timezone.is_naive(moment):
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    name = current_settings().time_zone
    return f"{moment.astimezone(zone_of(name) if name else timezone.get_current_timezone()):%Y-%m-%d %H:%M:%S %Z}"
