"""Clocks, and the conversion of times to the form of the project."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from typing import cast
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.utils import timezone

monotonic = time.monotonic
"""Return seconds on a monotonic clock that all processes of a machine share."""


def real_clock() -> float:
    """Return seconds on a monotonic clock that also runs while a test has frozen the time.

    Libraries that freeze the time replace the functions of `time`, but not this system call.
    """
    return time.clock_gettime(time.CLOCK_MONOTONIC) if sys.platform != "win32" else monotonic()


def now() -> datetime:
    """Return the present in the form of Django: aware and in UTC with `USE_TZ`, naive and local without.

    A task may have left `timezone.now` replaced. If that returns no time, the clock of Python is used.
    """
    with suppress(Exception):  # the function may be one of the task
        moment: object = timezone.now()
        if issubclass(type(moment), datetime):
            return cast("datetime", moment)
    return in_project_time(datetime.now(UTC))


def in_project_time(moment: datetime) -> datetime:
    """Return a date in the form of this project, because the process that created it may have another `USE_TZ`.

    Naive dates are in Django's `TIME_ZONE`, even if a task has activated another zone.

    Raises:
        OverflowError: the date is within hours of the first or last date of the calendar.
        ValueError: the time zone of the date has no offset.
    """
    if (moment.tzinfo is not None) == django_settings.USE_TZ:
        return moment
    convert = timezone.make_aware if django_settings.USE_TZ else timezone.make_naive
    return convert(moment, timezone.get_default_timezone())


def rezoned(moment: datetime, written: str, read: str) -> datetime:
    """Return the time in a naive column that was written in another time zone than the one in which it was read.

    Args:
        moment: the time as it was read.
        written: IANA name of the zone in which it was written.
        read: IANA name of the zone in which it was read.
    """
    digits = moment if moment.tzinfo is None else moment.astimezone(zone_of(read)).replace(tzinfo=None)
    return in_project_time(digits.replace(tzinfo=zone_of(written)))


def sent_at(value: object) -> datetime:
    """Return the time at which a package was sent, from its `started`; the present if that is no valid time."""
    try:
        return in_project_time(value) if isinstance(value, datetime) else now()
    except (OverflowError, ValueError):
        return now()


def zone_of(name: str) -> tzinfo:
    """Return the time zone with an IANA name."""
    return ZoneInfo(name)
