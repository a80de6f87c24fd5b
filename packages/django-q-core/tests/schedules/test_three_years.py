"""The scheduler on a simulated clock: three years of every type, in ten zones."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django_q.models import Schedule

pytestmark = pytest.mark.django_db

ZONES = (
    "Europe/Amsterdam",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Pacific/Chatham",
    "UTC",
)
FIRST, LAST = date(2023, 1, 31), date(2026, 1, 31)
SPAN = timedelta(minutes=700)
LOOK_EVERY = timedelta(days=40)


def every(days: int) -> list[date]:
    """Return dates with a step in days."""
    count = (LAST - FIRST).days // days
    return [FIRST + timedelta(days=number * days) for number in range(count + 1)]


def months(step: int) -> list[date]:
    """Return dates with a step in months, with the day clamped permanently."""
    dates = [FIRST]
    while True:
        year, month = divmod(dates[-1].year * 12 + dates[-1].month - 1 + step, 12)
        dates.append(date(year, month + 1, min(dates[-1].day, monthrange(year, month + 1)[1])))
        if dates[-1] > LAST:
            return dates[:-1]


DATES = {
    "D": every(1),
    "W": every(7),
    "BW": every(14),
    "M": months(1),
    "BM": months(2),
    "Q": months(3),
    "Y": months(12),
    "C": [day for day in every(1) if day.isoweekday() <= 5],
}
TYPES = {*DATES, "O", "H", "I"}


# Dates in the other zones do not depend on Django: `test_recurrence` computes them without it.
ONCE = [pytest.param(ZoneInfo(name), id=name, marks=pytest.mark.variant) for name in ZONES[1:]]


@pytest.mark.parametrize("zone", [pytest.param(ZoneInfo(ZONES[0]), id=ZONES[0]), *ONCE])
def test_every_type_is_sent_at_its_dates_and_never_else(clockwork, due, zone):
    assert {code for code, _ in Schedule.TYPE} == TYPES
    begin = datetime(FIRST.year, FIRST.month, FIRST.day, 2, 30, tzinfo=zone)
    end = datetime(LAST.year, LAST.month, LAST.day, 23, tzinfo=zone)
    # An hour is an hour in every zone, and there are many of them: three years of them in one.
    hours = timedelta(hours=1) if zone.key == "Europe/Amsterdam" else None
    for kind in sorted(TYPES if hours else TYPES - {"H"}):
        due(
            name=kind,
            schedule_type=kind,
            next_run=begin.astimezone(UTC),
            minutes=int(SPAN.total_seconds() // 60),
            cron="30 2 * * 1-5",
            intended_date_kwarg="at",
        )
    clock = clockwork(time_zone=zone.key)
    sent: dict[str, list[datetime]] = {kind: [] for kind in TYPES}
    now = begin
    while now < end:
        now = min(now.astimezone(UTC) + LOOK_EVERY, end.astimezone(UTC))
        for package in clock.play(now):
            sent[package["group"]].append(datetime.fromisoformat(package["kwargs"]["at"]))
    assert all(earlier < later for slots in sent.values() for earlier, later in pairwise(slots))
    for kind, dates in DATES.items():
        shown = [slot.astimezone(zone) for slot in sent[kind]]
        assert [slot.date() for slot in shown] == dates, kind
        # Where the clocks skip half past two, it is the first moment that they show.
        assert all(slot.hour in (2, 3) and slot >= slot.replace(hour=2, minute=30) for slot in shown), kind
        assert sum((slot.hour, slot.minute) != (2, 30) for slot in shown) <= 6, kind
    assert sent["O"] == [begin]
    for kind, span in {"I": SPAN, **({"H": hours} if hours else {})}.items():
        assert {later - earlier for earlier, later in pairwise(sent[kind])} == {span}
        assert sent[kind][-1] > end - span
