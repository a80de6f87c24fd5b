"""What time it is, and how long there is left."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple, Self
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def local_now(zone: str | None) -> datetime:
    """The present in a zone, aware; naive and local when there is none."""
    return datetime.now(zone_of(zone)) if zone else datetime.now()  # noqa: DTZ005


def zone_of(name: str) -> tzinfo:
    """The zone of that name."""
    return ZoneInfo(name)


class Deadline(NamedTuple):
    """A moment on the monotonic clock after which something is too late; None: it never is."""

    at: float | None

    @classmethod
    def after(cls, seconds: float | None) -> Self:
        """The moment that many seconds from now; None: never."""
        return cls(None if seconds is None else monotonic() + seconds)

    @property
    def passed(self) -> bool:
        """Is it too late?"""
        return self.at is not None and monotonic() >= self.at

    def left(self, at_most: float) -> float:
        """How many seconds there are left, never below 0 and never more than `at_most`."""
        return at_most if self.at is None else min(at_most, max(0.0, self.at - monotonic()))


class Seldom:
    """What may take long, and is done the more seldom the longer it takes: for a twentieth of the time at the most.

    Args:
        longest: seconds after which it is due in any case.
    """

    PAUSE = 20
    """After it, so many times as long passes until it is due again."""

    def __init__(self, longest: float = float("inf")) -> None:
        self.longest = longest
        self._due_at = 0.0

    @property
    def due(self) -> bool:
        """Is it time to do it again?"""
        return monotonic() >= self._due_at

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Do it."""
        began = monotonic()
        try:
            yield
        finally:
            ended = monotonic()
            self._due_at = ended + min(self.PAUSE * (ended - began), self.longest)
