"""When a schedule is due: pure functions on dates, and the only place that knows arrow and croniter."""

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

STEPS: Final[dict[str, dict[str, Any]]] = {
    "D": {"days": 1},
    "W": {"weeks": 1},
    "BW": {"weeks": 2},
    "M": {"months": 1},
    "BM": {"months": 2},
    "Q": {"months": 3},
    "Y": {"years": 1},
}
"""How far the calendar is turned, for each type that keeps its local time of day."""

LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What never happens after this, never happens."""

RANDOM: Final = re.compile(r"[hr](\(|/|$)", re.IGNORECASE)
"""A field whose value croniter makes up."""

HINT: Final = "Write five fields, such as '0 22 * * 1-5', or six with seconds at the end."


class Slot(NamedTuple):
    """One moment at which a schedule is due."""

    moment: datetime
    """Aware and in UTC; naive and local where there are no time zones."""
    wall: datetime | None = None
    """The local time it stands for, when the clocks skip that; None when it is the moment's own."""


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """From one slot to the next.

    Minutes and hours are spans of time. All other types keep their local time: one that the clocks skip is due at the
    first moment after the gap, and again at its own time the next day; one that comes twice is due the first time.
    """

    kind: str
    """One of `Schedule.TYPE`."""
    zone: tzinfo | None
    """Whose local time it keeps; None: the one of its dates, or none at all."""
    minutes: int | None = None
    cron: str | None = None

    def next(self, slot: Slot) -> Slot | None:
        """The slot after this one; None when there is none.

        Raises:
            ScheduleError: the type lacks what it needs, or is unknown.
        """
        zone = self.zone or slot.moment.tzinfo
        if self.kind == ONCE:
            return None
        if self.kind == CRON:
            return self._next_cron(slot.moment, zone)
        if self.kind in STEPS:
            return self._next_date(slot, zone)
        return Slot(later(slot.moment, self._span()))

    def skip(self, slot: Slot, now: datetime) -> Slot | None:
        """The first slot of the row that comes after this one and after *now*."""
        if self.kind == CRON and now > slot.moment:
            slot = Slot(now)
        if self.kind in (MINUTES, HOURLY) and now > slot.moment:
            slot = Slot(later(slot.moment, (now - slot.moment) // self._span() * self._span()))
        following = self.next(slot)
        while following is not None and following.moment <= now:
            following = self.next(following)
        return following

    def upcoming(self, slot: Slot) -> Iterator[Slot]:
        """This slot and all that follow."""
        following: Slot | None = slot
        while following is not None:
            yield following
            following = self.next(following)

    def first(self, now: datetime) -> Slot | None:
        """The slot a schedule begins with when nobody says: the first its expression names, else now."""
        return self.next(Slot(now)) if self.kind == CRON else Slot(now)

    def _span(self) -> timedelta:
        if self.kind == HOURLY:
            return timedelta(hours=1)
        if self.kind != MINUTES:
            raise ScheduleError(f"{self.kind!r} is not a type of schedule.")
        if not self.minutes or self.minutes < 0:
            raise ScheduleError("A schedule of the Minutes type needs a number of minutes, 1 or more.")
        return timedelta(minutes=self.minutes)

    def _next_date(self, slot: Slot, zone: tzinfo | None) -> Slot:
        wall = local(slot.moment, zone)
        if slot.wall is not None and at(slot.wall, zone).moment == slot.moment:
            wall = slot.wall
        from arrow import Arrow  # a megabyte, of the scheduler alone and only for days and longer

        while True:
            wall = Arrow.fromdatetime(wall, UTC).shift(**STEPS[self.kind]).naive
            following = at(wall, zone)
            if following.moment > slot.moment:
                return following

    def _next_cron(self, current: datetime, zone: tzinfo | None) -> Slot | None:
        if not self.cron:
            raise ScheduleError("A schedule of the Cron type needs a cron expression.")
        if zone is not None and names_no_hour(self.cron):
            return next_of_every_hour(self.cron, current, zone)
        wall: datetime | None = local(current, zone)
        while wall is not None:
            wall = cron_after(self.cron, wall)
            if wall is not None and (moment := at(wall, zone).moment) > current:
                return Slot(moment)
        return None


# local time


def as_datetime(value: Any) -> Any:
    """A date of arrow as a plain one; anything else as it is."""
    # Who has one of its dates has imported it.
    kind = getattr(sys.modules.get("arrow"), "Arrow", ())
    return value.datetime if isinstance(value, kind) else value


def local(moment: datetime, zone: tzinfo | None) -> datetime:
    """What the clocks show, naive."""
    return moment if zone is None else moment.astimezone(zone).replace(tzinfo=None, fold=0)


def at(wall: datetime, zone: tzinfo | None) -> Slot:
    """The first moment at which the clocks show *wall*, or more when they skip it."""
    if zone is None:
        return Slot(wall)
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if local(moment, zone) == wall:
        return Slot(moment)
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return Slot(first_change(before, moment, zone) or moment, wall)


def later(moment: datetime, span: timedelta) -> datetime:
    """The moment that much later, however the clocks are put."""
    return moment + span if moment.tzinfo is None else moment.astimezone(UTC) + span


def first_change(after: datetime, until: datetime, zone: tzinfo) -> datetime | None:
    """When the clocks are first put forward or back, to the second; None when they are not."""
    offset = offset_at(after, zone)
    while after < until:
        stop = min(after + timedelta(days=1), until)
        if offset_at(stop, zone) != offset:
            return bisect_change(after, stop, zone)
        after = stop
    return None


def bisect_change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The first second of the offset that holds at *after* and not at *before*."""
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
    """How far local time is from UTC."""
    return moment.astimezone(zone).utcoffset() or timedelta()


# cron


def cron_error(text: str) -> str | None:
    """What is wrong with a cron expression, as a sentence; None when it can be used.

    Five fields (minute, hour, day, month, day of the week), six with seconds at the end, or a name such as `@daily`.
    """
    if any(RANDOM.match(field) for field in text.split()):
        return f"{text!r} leaves its moment to chance: write a number."
    try:
        library().croniter.expand(text)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        return f"{text!r} is not a cron expression: {error}. {HINT}"
    if cron_after(text, LONG_AGO.replace(tzinfo=None)) is None:
        return f"{text!r} never happens. For the last day of each month write L as the day: '0 0 L * *'."
    return None


@cache
def library() -> ModuleType:
    """Croniter, for those who have cron expressions: it takes memory and time that web processes need not spend."""
    return import_module("croniter")


@lru_cache(maxsize=4096)
def cron_after(text: str, wall: datetime) -> datetime | None:
    """The first local time after *wall* that the expression names; None when there is none.

    Raises:
        ScheduleError: it is no cron expression.
    """
    try:
        found: datetime = expression(text, get_ident()).get_next(datetime, start_time=wall.replace(tzinfo=UTC))
    except library().CroniterBadDateError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ScheduleError(f"{text!r} is not a cron expression: {error}. {HINT}") from error
    return found.replace(tzinfo=None)


@lru_cache(maxsize=1024)
def expression(text: str, thread: int) -> croniter:
    """A parsed expression; each thread has its own, for it remembers where it is."""
    parsed: croniter = library().croniter(text, LONG_AGO)
    return parsed


@lru_cache(maxsize=1024)
def names_no_hour(text: str) -> bool:
    """Is the expression due in every hour, so that an hour that comes twice is meant twice?"""
    try:
        fields, _ = library().croniter.expand(text)
    except (ValueError, KeyError, AttributeError, TypeError):
        return False
    return fields[1] in (["*"], [*range(24)])


def next_of_every_hour(text: str, current: datetime, zone: tzinfo) -> Slot | None:
    """The first moment after *current* at which the clocks show what the expression names, the second time too."""
    after, offset = current.astimezone(UTC), offset_at(current, zone)
    wall = after.replace(tzinfo=None) + offset
    while (found := cron_after(text, wall)) is not None:
        moment = (found - offset).replace(tzinfo=UTC)
        change = first_change(after, moment, zone)
        if change is None:
            return Slot(moment)
        after, offset = change, offset_at(change, zone)
        wall = change.replace(tzinfo=None) + offset - datetime.resolution
    return None
