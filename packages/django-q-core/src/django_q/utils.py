"""Small functions of django-q2, under their old path."""

from __future__ import annotations

import calendar
from datetime import date, datetime
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.db import close_old_connections
from django.utils import timezone

from django_q.functions import describe
from django_q.settings import current_settings

if TYPE_CHECKING:
    from collections.abc import Callable

D = TypeVar("D", date, datetime)

MONTHS_PER_YEAR = 12


def add_months(d: D, n: int) -> D:
    """Return the date some months later, or the last day of that month if it is shorter.

    Args:
        d: the date.
        n: number of months.
    """
    years, month = divmod(d.month - 1 + n, MONTHS_PER_YEAR)
    year, month = d.year + years, month + 1
    return d.replace(year=year, month=month, day=min(d.day, calendar.monthrange(year, month)[1]))


def add_years(d: D, n: int) -> D:
    """Return the date some years later; 28 February for 29 February if that year has none.

    Args:
        d: the date.
        n: number of years.
    """
    return add_months(d, n * MONTHS_PER_YEAR)


def get_func_repr(func: str | Callable[..., object] | None) -> str | None:
    """Return the dotted path of a function, or its text form if it has none; None for None."""
    return None if func is None else describe(func)


def localtime(value: datetime | None = None) -> datetime:
    """Return a time in the setting `time_zone`; without `USE_TZ`, a naive one in `TIME_ZONE`.

    Args:
        value: an aware time; None for now.
    """
    if not django_settings.USE_TZ:
        return datetime.now() if value is None else value  # noqa: DTZ005 - times of the project are naive
    zone = current_settings().time_zone
    return timezone.localtime(value, ZoneInfo(zone) if zone else None)


def close_old_django_connections() -> None:
    """Close database connections that are unusable or too old. In sync mode, they belong to the caller, and stay."""
    if not current_settings().sync:
        close_old_connections()
