"""Computes the next runs of a schedule, to be shown."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from django_q.models import Schedule
    from django_q.settings import ClusterSettings


def upcoming(schedule: Schedule, count: int, settings: ClusterSettings | None = None) -> list[datetime]:
    """Return the times of the next runs of a schedule. A paused one, and one without a slot, have none.

    Args:
        schedule: the schedule.
        count: maximum number of runs.
        settings: settings with the time zone; None for the current ones.

    Raises:
        ScheduleError: the schedule is invalid.
    """
    slot = schedule.slot()
    if slot is None or schedule.repeats == 0:
        return []
    if schedule.repeats > 0:
        count = min(count, schedule.repeats)
    return [each.moment for each in islice(schedule.recurrence(settings).upcoming(slot), count)]
