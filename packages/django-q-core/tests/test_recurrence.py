"""Tests of `recurrence`: the tables of the manual, and rules that hold in every zone."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import django_q
import pytest
from django_q.exceptions import ScheduleError
from django_q.recurrence import INTERVALS_BY_TYPE, Recurrence, Slot, at, cron_error, first_change, local

ZONES = (
    "Europe/Amsterdam",
    "America/New_York",
    "America/St_Johns",  # half an hour
    "Australia/Lord_Howe",  # half an hour of daylight saving, south
    "Australia/Adelaide",  # half an hour, south
    "America/Santiago",  # the gap is at midnight, south
    "Africa/Cairo",  # the gap is at midnight
    "Asia/Kolkata",  # half an hour, none
    "Asia/Kathmandu",  # 45 minutes, none
    "Africa/Casablanca",  # changes for Ramadan
    "Pacific/Chatham",  # 45 minutes, south
    "Pacific/Auckland",
    "UTC",
)
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def moment(text: str, zone: ZoneInfo = AMSTERDAM) -> datetime:
    """Return the first moment at which the clocks show this local time."""
    return at(datetime.fromisoformat(text), zone).moment


def shown(slots, zone=AMSTERDAM) -> list[str]:
    """Return the local times of slots."""
    return [slot.moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S%z")[:-2] for slot in slots]


def rows(kind: str, start: str, count: int, zone: ZoneInfo = AMSTERDAM, **options) -> list[str]:
    """Return the local times of the first slots."""
    recurrence = Recurrence(kind=kind, zone=zone, **options)
    return shown(islice(recurrence.upcoming(Slot(moment(start, zone))), count), zone)


def slot_after(current: datetime, kind: str, zone: ZoneInfo | None, **options) -> Slot | None:
    """Return the slot after a moment."""
    return Recurrence(kind=kind, zone=zone, **options).next(Slot(current))


# the manual's types


@pytest.mark.parametrize(
    ("kind", "following"),
    [
        ("H", "2025-01-31 19:00:00+01"),
        ("D", "2025-02-01 18:00:00+01"),
        ("W", "2025-02-07 18:00:00+01"),
        ("BW", "2025-02-14 18:00:00+01"),
        ("M", "2025-02-28 18:00:00+01"),
        ("BM", "2025-03-31 18:00:00+02"),
        ("Q", "2025-04-30 18:00:00+02"),
        ("Y", "2026-01-31 18:00:00+01"),
    ],
)
def test_each_type_has_its_step(kind, following):
    assert rows(kind, "2025-01-31 18:00", 2)[1] == following


def test_minutes_are_counted_from_the_first_run():
    assert rows("I", "2025-01-31 18:03", 3, minutes=45)[1:] == ["2025-01-31 18:48:00+01", "2025-01-31 19:33:00+01"]


def test_once_has_no_next_slot():
    assert slot_after(moment("2025-01-31 18:00"), "O", AMSTERDAM) is None


def test_months_clamp_and_stay_clamped():
    days = [day[:10] for day in rows("M", "2025-01-31 18:00", 5)]
    assert days == ["2025-01-31", "2025-02-28", "2025-03-28", "2025-04-28", "2025-05-28"]


def test_29_february_becomes_the_28th():
    days = [day[:10] for day in rows("Y", "2024-02-29 18:00", 6)]
    assert days == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-28", "2029-02-28"]


@pytest.mark.parametrize("minutes", [None, 0, -5])
def test_minutes_without_a_number_are_refused(minutes):
    with pytest.raises(ScheduleError, match="number of minutes"):
        slot_after(moment("2025-01-31 18:00"), "I", AMSTERDAM, minutes=minutes)


def test_an_unknown_type_is_refused():
    with pytest.raises(ScheduleError, match="not a type"):
        slot_after(moment("2025-01-31 18:00"), "X", AMSTERDAM)


# local time: complaint 27


def test_daily_at_six_in_the_evening_stays_across_both_changes():
    assert rows("D", "2025-03-29 18:00", 3) == [
        "2025-03-29 18:00:00+01", "2025-03-30 18:00:00+02", "2025-03-31 18:00:00+02",
    ]  # fmt: skip
    assert rows("D", "2025-10-25 18:00", 3) == [
        "2025-10-25 18:00:00+02", "2025-10-26 18:00:00+01", "2025-10-27 18:00:00+01",
    ]  # fmt: skip


def test_skipped_local_time_is_due_after_the_gap_that_day_only():
    assert rows("D", "2025-03-29 02:30", 3) == [
        "2025-03-29 02:30:00+01", "2025-03-30 03:00:00+02", "2025-03-31 02:30:00+02",
    ]  # fmt: skip


def test_a_time_that_exists_twice_is_due_once():
    assert rows("D", "2025-10-25 02:30", 3) == [
        "2025-10-25 02:30:00+02", "2025-10-26 02:30:00+02", "2025-10-27 02:30:00+01",
    ]  # fmt: skip


def test_skipped_day_is_due_at_its_end():
    apia = ZoneInfo("Pacific/Apia")  # went over the date line
    assert [day[:16] for day in rows("D", "2011-12-28 18:00", 5, apia)] == [
        "2011-12-28 18:00", "2011-12-29 18:00", "2011-12-31 00:00", "2011-12-31 18:00", "2012-01-01 18:00",
    ]  # fmt: skip


def test_edited_next_run_is_the_new_time_of_day():
    written = Slot(moment("2025-03-30 04:15"), datetime(2025, 3, 30, 2, 30))
    recurrence = Recurrence(kind="D", zone=AMSTERDAM)
    assert shown([recurrence.next(written)]) == ["2025-03-31 04:15:00+02"]


def test_hours_and_minutes_go_on_through_both_changes():
    assert rows("H", "2025-10-26 01:00", 4) == [
        "2025-10-26 01:00:00+02", "2025-10-26 02:00:00+02", "2025-10-26 02:00:00+01", "2025-10-26 03:00:00+01",
    ]  # fmt: skip
    assert rows("I", "2025-03-30 01:30", 3, minutes=30) == [
        "2025-03-30 01:30:00+01", "2025-03-30 03:00:00+02", "2025-03-30 03:30:00+02",
    ]  # fmt: skip


def test_without_time_zones_dates_are_what_the_clock_shows():
    assert slot_after(datetime(2025, 3, 29, 2, 30), "D", None) == Slot(datetime(2025, 3, 30, 2, 30))
    assert slot_after(datetime(2025, 3, 29, 2, 30), "C", None, cron="30 2 * * *") == Slot(datetime(2025, 3, 30, 2, 30))
    assert slot_after(datetime(2025, 3, 29, 2, 30), "I", None, minutes=5) == Slot(datetime(2025, 3, 29, 2, 35))


# cron


@pytest.mark.parametrize(
    ("cron", "following"),
    [
        ("0 22 * * 1-5", ["2025-01-31 22:00:00+01", "2025-02-03 22:00:00+01"]),
        ("*/20 * * * *", ["2025-01-31 18:20:00+01", "2025-01-31 18:40:00+01"]),
        ("* * * * * */30", ["2025-01-31 18:00:30+01", "2025-01-31 18:01:00+01"]),
        ("* * * * * *", ["2025-01-31 18:00:01+01", "2025-01-31 18:00:02+01"]),
        ("@daily", ["2025-02-01 00:00:00+01", "2025-02-02 00:00:00+01"]),
        ("@hourly", ["2025-01-31 19:00:00+01", "2025-01-31 20:00:00+01"]),
        ("@weekly", ["2025-02-02 00:00:00+01", "2025-02-09 00:00:00+01"]),
        ("@monthly", ["2025-02-01 00:00:00+01", "2025-03-01 00:00:00+01"]),
        ("@yearly", ["2026-01-01 00:00:00+01", "2027-01-01 00:00:00+01"]),
        ("0 0 L * *", ["2025-02-28 00:00:00+01", "2025-03-31 00:00:00+02"]),
        ("0 9 * * 5#2", ["2025-02-14 09:00:00+01", "2025-03-14 09:00:00+01"]),
        ("0 9 * * mon", ["2025-02-03 09:00:00+01", "2025-02-10 09:00:00+01"]),
        ("0 0 29 2 *", ["2028-02-29 00:00:00+01", "2032-02-29 00:00:00+01"]),
    ],
)
def test_cron_expressions(cron, following):
    assert cron_error(cron) is None
    assert rows("C", "2025-01-31 18:00", 3, cron=cron)[1:] == following


def test_cron_with_an_hour_is_due_once_in_a_repeated_hour():
    assert rows("C", "2025-10-25 02:30", 3, cron="30 2 * * *")[1:] == [
        "2025-10-26 02:30:00+02", "2025-10-27 02:30:00+01",
    ]  # fmt: skip


def test_cron_in_the_gap_is_due_at_its_end_once():
    assert rows("C", "2025-03-29 02:50", 3, cron="*/10 2 * * *")[1:] == [
        "2025-03-30 03:00:00+02", "2025-03-31 02:00:00+02",
    ]  # fmt: skip
    assert rows("C", "2025-03-29 03:00", 4, cron="0 2,3 * * *")[1:] == [
        "2025-03-30 03:00:00+02", "2025-03-31 02:00:00+02", "2025-03-31 03:00:00+02",
    ]  # fmt: skip


def test_cron_of_every_hour_goes_on_through_both_changes():
    assert rows("C", "2025-10-26 01:45", 5, cron="*/45 * * * *")[1:] == [
        "2025-10-26 02:00:00+02", "2025-10-26 02:45:00+02", "2025-10-26 02:00:00+01", "2025-10-26 02:45:00+01",
    ]  # fmt: skip
    assert rows("C", "2025-03-30 01:30", 3, cron="*/30 * * * *")[1:] == [
        "2025-03-30 03:00:00+02", "2025-03-30 03:30:00+02",
    ]  # fmt: skip


def test_every_second_goes_on_through_the_hour_that_comes_twice():
    start = moment("2025-10-26 02:59:58")
    recurrence = Recurrence(kind="C", zone=AMSTERDAM, cron="* * * * * *")
    slots = [slot.moment for slot in islice(recurrence.upcoming(Slot(start)), 5)]
    assert slots == [start + timedelta(seconds=number) for number in range(5)]


def test_cron_from_within_the_second_pass_of_an_hour():
    second = datetime(2025, 10, 26, 2, 10, tzinfo=AMSTERDAM, fold=1)
    assert shown([slot_after(second, "C", AMSTERDAM, cron="30 2 * * *")]) == ["2025-10-27 02:30:00+01"]
    assert shown([slot_after(second, "C", AMSTERDAM, cron="30 * * * *")]) == ["2025-10-26 02:30:00+01"]


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 0 31 2 *", "never happens"),
        ("0 0 31 4,6,9,11 *", "never happens"),
        ("61 * * * *", "not a cron expression"),
        ("* * * *", "not a cron expression"),
        ("", "not a cron expression"),
        ("every day", "not a cron expression"),
        ("@reboot", "not a cron expression"),
        ("0 9 * * 5#6", "not a cron expression"),
        ("R R * * *", "random field"),
        ("h(0-7) 3 * * *", "random field"),
    ],
)
def test_invalid_cron_expression_has_a_message(cron, message):
    assert message in cron_error(cron)


def test_names_of_days_and_months_are_not_random():
    assert cron_error("0 0 * mar thu") is None


def test_cron_that_never_comes_again_has_no_next_slot():
    assert slot_after(moment("2025-01-31 18:00"), "C", AMSTERDAM, cron="0 0 1 1 * 0 2020") is None


@pytest.mark.parametrize("cron", [None, "", "nonsense"])
def test_cron_without_an_expression_is_refused(cron):
    with pytest.raises(ScheduleError, match="cron expression"):
        slot_after(moment("2025-01-31 18:00"), "C", AMSTERDAM, cron=cron)


def test_the_first_slot_is_now_but_for_cron():
    now = moment("2025-01-31 18:00:30")
    assert Recurrence(kind="D", zone=AMSTERDAM).first(now) == Slot(now)
    assert shown([Recurrence(kind="C", zone=AMSTERDAM, cron="0 22 * * *").first(now)]) == ["2025-01-31 22:00:00+01"]


# missed slots


@pytest.mark.parametrize(
    ("kind", "options", "following"),
    [
        ("I", {"minutes": 7}, "2025-11-05 12:06:00+01"),
        ("H", {}, "2025-11-05 13:00:00+01"),
        ("D", {}, "2025-11-05 18:00:00+01"),
        ("M", {}, "2025-11-28 18:00:00+01"),
        ("C", {"cron": "0 0 * * *"}, "2025-11-06 00:00:00+01"),
    ],
)
def test_skipping_leads_to_the_first_slot_in_the_future(kind, options, following):
    recurrence = Recurrence(kind=kind, zone=AMSTERDAM, **options)
    now = moment("2025-11-05 12:05")
    assert shown([recurrence.skip(Slot(moment("2025-01-31 18:00")), now)]) == [following]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("I", {"minutes": 7}), ("H", {}), ("D", {}), ("W", {}), ("M", {}), ("C", {"cron": "7 */3 * * *"})],
)
def test_skipping_finds_what_playing_finds(kind, options):
    recurrence = Recurrence(kind=kind, zone=AMSTERDAM, **options)
    start = Slot(moment("2025-09-28 18:03:20"))
    for hours in (0, 1, 47, 24 * 40):
        now = start.moment + timedelta(hours=hours, seconds=3)
        played = next(slot for slot in recurrence.upcoming(start) if slot.moment > now and slot != start)
        assert recurrence.skip(start, now) == played


# in every zone

EVERY_ZONE = pytest.mark.parametrize("zone", [pytest.param(ZoneInfo(name), id=name) for name in ZONES])


def three_years(kind: str, zone: ZoneInfo, start: str, **options) -> list[Slot]:
    """All slots of three years, which are strictly increasing."""
    first = moment(start, zone)
    row = Recurrence(kind=kind, zone=zone, **options).upcoming(Slot(first))
    slots = list(takewhile(lambda slot: slot.moment < first + timedelta(days=3 * 365), row))
    assert all(earlier.moment < later.moment for earlier, later in pairwise(slots))
    return slots


@EVERY_ZONE
@pytest.mark.parametrize("start", ["2023-01-01 02:30", "2024-02-29 00:00"])
@pytest.mark.parametrize("kind", INTERVALS_BY_TYPE)
def test_no_date_is_skipped_or_doubled_or_changes_its_local_time(kind, start, zone):
    slots = three_years(kind, zone, start)
    local_times = [slot.wall_time or local(slot.moment, zone) for slot in slots]
    assert {wall_time.time() for wall_time in local_times} == {datetime.fromisoformat(start).time()}
    assert len({wall_time.date() for wall_time in local_times}) == len(local_times)
    pairs = zip(slots, local_times, strict=True)
    assert all(is_first_that_exists(slot.moment, wall_time, zone) for slot, wall_time in pairs)
    low, high = GAPS[kind]
    assert all(low <= (later.date() - earlier.date()).days <= high for earlier, later in pairwise(local_times))


GAPS = {"D": (1, 1), "W": (7, 7), "BW": (14, 14), "M": (28, 31), "BM": (59, 62), "Q": (89, 92), "Y": (365, 366)}
"""Days from one date to the next, by type."""


@EVERY_ZONE
@pytest.mark.parametrize(("kind", "minutes"), [("H", None), ("I", 45)])
def test_spans_are_all_alike(kind, minutes, zone):
    slots = three_years(kind, zone, "2023-01-01 02:30", minutes=minutes)
    assert {later.moment - earlier.moment for earlier, later in pairwise(slots)} == {timedelta(minutes=minutes or 60)}


@EVERY_ZONE
@pytest.mark.parametrize(
    ("cron", "times", "is_due"),
    [
        ("30 2 * * *", ["02:30"], lambda day: True),
        ("0 0 * * 0,5", ["00:00"], lambda day: day.isoweekday() in (5, 7)),
        ("15 1,2,3 * * 0", ["01:15", "02:15", "03:15"], lambda day: day.isoweekday() == 7),
        ("0 12 L * *", ["12:00"], lambda day: (day + timedelta(days=1)).day == 1),
    ],
)
def test_cron_is_due_whenever_its_expression_says_and_never_else(cron, times, is_due, zone):
    slots = three_years("C", zone, "2023-01-01 00:00", cron=cron)
    days = [datetime(2023, 1, 1) + timedelta(days=number) for number in range(3 * 365 + 1)]
    local_times = [datetime.fromisoformat(f"{day:%Y-%m-%d} {time}") for day in days if is_due(day) for time in times]
    expected = {at(wall_time, zone).moment for wall_time in local_times}
    assert [slot.moment for slot in slots[1:]] == sorted(
        due for due in expected if slots[0].moment < due <= slots[-1].moment
    )


@EVERY_ZONE
def test_cron_of_every_hour_is_due_in_both_repeated_hours(zone):
    after = datetime(2024, 1, 1, tzinfo=UTC)
    while change := first_change(after, datetime(2026, 1, 1, tzinfo=UTC), zone):
        begin, minute = change - timedelta(hours=3), timedelta(minutes=1)
        slots = islice(Recurrence(kind="C", zone=zone, cron="*/20 * * * *").upcoming(Slot(begin)), 15)
        moments = [slot.moment for slot in slots]
        minutes = [begin + number * minute for number in range(1, int((moments[-1] - begin) / minute) + 1)]
        assert moments[1:] == [each for each in minutes if local(each, zone).minute % 20 == 0]
        after = change


def is_first_that_exists(due: datetime, wall_time: datetime, zone: ZoneInfo) -> bool:
    """Return True if the local time exists, or its gap ends at this slot."""
    then = local(due, zone)
    return then == wall_time or (then > wall_time > local(due - timedelta(seconds=1), zone))


def test_a_next_slot_costs_little():
    recurrence = Recurrence(kind="C", zone=AMSTERDAM, cron="* * * * * *")
    began, count = time.perf_counter(), 2000
    for _ in islice(recurrence.upcoming(Slot(moment("2025-06-01 00:00"))), count):
        pass
    assert (time.perf_counter() - began) / count < 0.005


def test_only_this_module_knows_the_libraries_of_dates():
    imports = re.compile(r"^\s*(from|import) (arrow|croniter)\b", re.MULTILINE)
    modules = Path(django_q.__file__).parent.rglob("*.py")
    assert [module.name for module in modules if imports.search(module.read_text())] == ["recurrence.py"]
