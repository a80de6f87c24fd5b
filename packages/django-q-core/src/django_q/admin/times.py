"""Shows times and durations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.formats import date_format

from django_q.clock import in_project_time

if TYPE_CHECKING:
    from datetime import datetime


def with_seconds(moment: datetime | None) -> str:
    """Return a local time with seconds; a dash for None."""
    if moment is None:
        return "-"
    return date_format(timezone.localtime(moment) if timezone.is_aware(moment) else moment, "Y-m-d H:i:s")


def seconds_between(first: datetime | None, last: datetime | None) -> float | None:
    """Return the seconds between two times; None if one is not known."""
    if first is None or last is None:
        return None
    return round((in_project_time(last) - in_project_time(first)).total_seconds(), 3)
