"""What time it is, and how long there is left."""

from __future__ import annotations

import sys
import time
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.utils import timezone

monotonic = time.monotonic
"""Seconds on a clock that never goes back and that all processes of a machine share."""


def real_clock() -> float:
    """Return seconds on a monotonic clock that goes on while a test has frozen the time.

    Libraries that freeze the time replace the functions of `time`, but not this one of the system.
    """
    return time.clock_gettime(time.CLOCK_MONOTONIC) if sys.platform != "win32" else monotonic()


def now() -> datetime:
    """The present as Django stores it: aware and in UTC with `USE_TZ`, naive and local without."""
    return timezone.now()


def in_project_time(moment: datetime) -> datetime:
    """Return a date as this project keeps dates: the process that made it may have had another `USE_TZ`.

    Naive dates are in Django's `TIME_ZONE`, whatever zone a task has activated.

    Raises:
        OverflowError: it is within hours of the first or last moment of the calendar.
        ValueError: its time zone has no offset.
    """
    if (moment.tzinfo is not None) == django_settings.USE_TZ:
        return moment
    convert = timezone.make_aware if django_settings.USE_TZ else timezone.make_naive
    return convert(moment, timezone.get_default_timezone())


def rezoned(moment: datetime, written: str, read: str) -> datetime:
    """Return what a naive column means, if it was written in another zone than the one in which it was read.

    Args:
        moment: as it was read.
        written: IANA name of the zone in which it was written.
        read: IANA name of the zone in which it was read.
    """
    digits = moment if moment.tzinfo is None else moment.astimezone(zone_of(read)).replace(tzinfo=None)
    return in_project_time(digits.replace(tzinfo=zone_of(written)))


def sent_at(value: object) -> datetime:
    """Return when a package says that it was sent; the present if it does not say it."""
    try:
        return in_project_time(value) if isinstance(value, datetime) else now()
    except (OverflowError, ValueError):
        return now()


def zone_of(name: str) -> tzinfo:
    """The zone of that name."""
    return ZoneInfo(name)
