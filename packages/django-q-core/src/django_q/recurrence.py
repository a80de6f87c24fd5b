"""Computes the slots of a schedule, as pure functions on dates.

This is the only module that uses arrow and croniter.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from importlib import import_module
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django_q.exceptions import ScheduleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from croniter import croniter

ONCE: Final = "O"
MINUTES: Final = "I"
HOURLY: Final = "H"
CRON: Final = "C"

INTERVALS_BY_TYPE: Final[dict[str, dict[str, Any]]] = {
    "D": {"days": 1},
    "W": {"weeks": 1},
    "BW": {"weeks": 2},
    "M": {"months": 1},
    "BM": {"months": 2},
    "Q": {"months": 3},
    "Y": {"years": 1},
}
"""Step in calendar units, of each type that keeps its local time of day."""

EARLIEST_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""A cron expression that is never due after this moment is invalid."""

RANDOM_FIELD: Final = re.compile(r"[hr](\(|/|$)", re.IGNORECASE)
"""Matches a field whose value croniter chooses at random."""

HINT: Final = "Write five fields, such as '0 22 * * 1-5', or six with seconds at the end."


class Slot(NamedTuple):
    """One moment at which a schedule is due."""

    moment: datetime
    """Aware, in UTC; with `USE_TZ = False` naive, in local time."""
    wall_time: datetime | None = None
    """Nominal local time (naive) if the clocks skip it; None if it is the local time of the moment."""


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """Rule that computes the slots of a schedule.

    Minutes and hours are durations. All other types keep their local time. A local time that the clocks skip is due at
    the first moment after the gap, and at its own time again the next day. One that occurs twice is due the first time.
    """

    kind: str
    """One of `Schedule.TYPE`."""
    zone: tzinfo | None
    """Time zone of the local time; None means that of the dates, which may be naive."""
    minutes: int | None = None
    """Interval of the Minutes type."""
    cron: str | None = None
    """Expression of the Cron type."""

    def next(self, slot: Slot) -> Slot | None:
        """Return the slot after this one; None if there is none.

        Raises:
            ScheduleError: the type is unknown, or lacks its minutes or its cron expression.
        """
        zone = self.zone or slot.moment.tzinfo
        if self.kind == ONCE:
            return None
        if self.kind == CRON:
            return self._next_cron(slot.moment, zone)
        if self.kind in INTERVALS_BY_TYPE:
            return self._next_date(slot, zone)
        return Slot(later(slot.moment, self._span()))

    def skip(self, slot: Slot, now: datetime) -> Slot | None:
        """Return the first slot that is later than this one and than *now*; None if there is none."""
        if self.kind == CRON and now > slot.moment:
            slot = Slot(now)
        if self.kind in (MINUTES, HOURLY) and now > slot.moment:
            slot = Slot(later(slot.moment, (now - slot.moment) // self._span() * self._span()))
        following = self.next(slot)
        while following is not None and following.moment <= now:
            following = self.next(following)
        return following

    def upcoming(self, slot: Slot) -> Iterator[Slot]:
        """Yield this slot and all that follow."""
        following: Slot | None = slot
        while following is not None:
            yield following
            following = self.next(following)

    def first(self, now: datetime) -> Slot | None:
        """Return the first slot of a new schedule without `next_run`: that of its cron expression, or else *now*."""
        return self.next(Slot(now)) if self.kind == CRON else Slot(now)

    def _span(self) -> timedelta:
        if self.kind == HOURLY:
            return timedelta(hours=1)
        if self.kind != MINUTES:
            raise ScheduleError(f"{self.kind!r} is not a type of schedule: choose one of Schedule.TYPE.")
        if not self.minutes or self.minutes < 0:
            raise ScheduleError("A schedule of the Minutes type needs a number of minutes, 1 or more.")
        return timedelta(minutes=self.minutes)

    def _next_date(self, slot: Slot, zone: tzinfo | None) -> Slot:
        wall_time = local(slot.moment, zone)
        if slot.wall_time is not None and at(slot.wall_time, zone).moment == slot.moment:
            wall_time = slot.wall_time
        from arrow import Arrow  # needs 1 MB, so only schedulers with such types import it

        while True:
            wall_time = Arrow.fromdatetime(wall_time, UTC).shift(**INTERVALS_BY_TYPE[self.kind]).naive
            following = at(wall_time, zone)
            if following.moment > slot.moment:
                return following

    def _next_cron(self, current: datetime, zone: tzinfo | None) -> Slot | None:
        if not self.cron:
            raise ScheduleError("A schedule of the Cron type needs a cron expression.")
        if zone is not None and names_no_hour(self.cron):
            return next_of_every_hour(self.cron, current, zone)
        wall_time: datetime | None = local(current, zone)
        while wall_time is not None:
            wall_time = cron_after(self.cron, wall_time)
            if wall_time is not None and (moment := at(wall_time, zone).moment) > current:
                return Slot(moment)
        return None


# local time


def as_datetime(value: Any) -> Any:
    """Return a date of arrow as a `datetime`, and any other value unchanged."""
    # A date of arrow exists only if arrow is imported.
    kind = getattr(sys.modules.get("arrow"), "Arrow", ())
    return value.datetime if isinstance(value, kind) else value


def local(moment: datetime, zone: tzinfo | None) -> datetime:
    """Return the local time of a moment, naive."""
    return moment if zone is None else moment.astimezone(zone).replace(tzinfo=None, fold=0)


def at(wall_time: datetime, zone: tzinfo | None) -> Slot:
    """Return the slot of a local time: its first moment, or the end of the gap if the clocks skip it."""
    if zone is None:
        return Slot(wall_time)
    moment = wall_time.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if local(moment, zone) == wall_time:
        return Slot(moment)
    before = wall_time.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return Slot(first_change(before, moment, zone) or moment, wall_time)


def later(moment: datetime, span: timedelta) -> datetime:
    """Return the moment after a duration, which clock changes do not affect."""
    return moment + span if moment.tzinfo is None else moment.astimezone(UTC) + span


def first_change(after: datetime, until: datetime, zone: tzinfo) -> datetime | None:
    """Return the first change of the UTC offset in a period, exact to the second; None if there is none."""
    offset = offset_at(after, zone)
    while after < until:
        stop = min(after + timedelta(days=1), until)
        if offset_at(stop, zone) != offset:
            return bisect_change(after, stop, zone)
        after = stop
    return None


def bisect_change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the first second with the offset of *after*; *before* has another one."""
    start, offset = after.replace(microsecond=0), offset_at(after, zone)
    new, old = 0, int((after - before).total_seconds()) + 1
    while old - new > 1:
        middle = (new + old) // 2
        if offset_at(start - timedelta(seconds=middle), zone) == offset:
            new = middle
        else:
            old = middle
    return start - timedelta(seconds=new)


def offset_at(moment: datetime, zone: tzinfo) -> timedelta:
    """Return the UTC offset of a zone at a moment."""
    return moment.astimezone(zone).utcoffset() or timedelta()


# cron


def cron_error(text: str) -> str | None:
    """Return the error in a cron expression as a sentence; None if the expression is valid.

    An expression has five fields (minute, hour, day, month, day of the week), or six with seconds at the end, or is a
    name such as `@daily`.
    """
    if any(RANDOM_FIELD.match(field) for field in text.split()):
        return f"{text!r} has a random field: write a number."
    try:
        library().croniter.expand(text)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        return f"{text!r} is not a cron expression: {error}. {HINT}"
    if cron_after(text, EARLIEST_MOMENT.replace(tzinfo=None)) is None:
        return f"{text!r} never happens. For the last day of each month write L as the day: '0 0 L * *'."
    return None


@cache
def library() -> ModuleType:
    """Import croniter when the first cron expression needs it: it costs memory and time in all other processes."""
    return import_module("croniter")


@lru_cache(maxsize=4096)
def cron_after(text: str, wall_time: datetime) -> datetime | None:
    """Return the first local time after *wall_time* that matches an expression; None if there is none.

    Raises:
        ScheduleError: the expression is invalid.
    """
    try:
        found: datetime = expression(text, get_ident()).get_next(datetime, start_time=wall_time.replace(tzinfo=UTC))
    except library().CroniterBadDateError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ScheduleError(f"{text!r} is not a cron expression: {error}. {HINT}") from error
    return found.replace(tzinfo=None)


@lru_cache(maxsize=1024)
def expression(text: str, thread: int) -> croniter:
    """Return a parsed expression. Each thread has its own, because it stores its position."""
    parsed: croniter = library().croniter(text, EARLIEST_MOMENT)
    return parsed


@lru_cache(maxsize=1024)
def names_no_hour(text: str) -> bool:
    """Return True if an expression is due in every hour, so that it is due in both of two equal hours."""
    try:
        fields, _ = library().croniter.expand(text)
    except (ValueError, KeyError, AttributeError, TypeError):
        return False
    return fields[1] in (["*"], [*range(24)])


def next_of_every_hour(text: str, current: datetime, zone: tzinfo) -> Slot | None:
    """Return the first slot after *current* whose local time matches, including an hour that occurs twice."""
    after, offset = current.astimezone(UTC), offset_at(current, zone)
    wall_time = after.replace(tzinfo=None) + offset
    while (found := cron_after(text, wall_time)) is not None:
        moment = (found - offset).replace(tzinfo=UTC)
        change = first_change(after, moment, zone)
        if change is None:
            return Slot(moment)
        after, offset = change, offset_at(change, zone)
        wall_time = change.replace(tzinfo=None) + offset - datetime.resolution
    return None
