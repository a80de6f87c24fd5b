"""Periodic tasks of django-celery-beat become arguments of `schedule`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from django_q.exceptions import ScheduleError
from django_q.schedules.celery_beat import converted
from django_q.settings import ClusterSettings

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
SETTINGS = ClusterSettings(name="shop", time_zone="Europe/Berlin")


def periodic(**values):
    """Return a periodic task; without values it is due each hour."""
    nothing = dict.fromkeys(("clocked", "crontab", "expires", "interval", "last_run_at", "queue", "start_time"))
    defaults = {
        "name": "a task",
        "task": "math.hypot",
        "args": "[3]",
        "kwargs": "{}",
        "enabled": True,
        "one_off": False,
    }
    if not {"clocked", "crontab", "interval"} & values.keys():
        values["interval"] = every(1, "hours")
    return SimpleNamespace(**{**nothing, **defaults, **values})


def every(number, period):
    return SimpleNamespace(every=number, period=period)


def crontab(text, zone="Europe/Berlin"):
    minute, hour, day_of_month, month_of_year, day_of_week = text.split()
    return SimpleNamespace(
        minute=minute, hour=hour, day_of_month=day_of_month, month_of_year=month_of_year, day_of_week=day_of_week,
        timezone=ZoneInfo(zone),
    )  # fmt: skip


def convert(settings=SETTINGS, **values):
    return converted(periodic(**values), settings, NOW)


def test_names_arguments_and_queue_are_kept():
    found = convert(args='[3, "x", [null]]', kwargs='{"base": 7}', queue="mail")
    assert (found["func"], found["args"], found["base"]) == ("math.hypot", [3, "x", [None]], 7)
    assert (found["name"], found["cluster"], found["repeats"]) == ("a task", "mail", -1)


def test_schedule_belongs_to_the_chosen_cluster():
    chosen = ClusterSettings(name="shop", cluster_name="new-york", time_zone="America/New_York")
    found = convert(chosen, crontab=crontab("0 3 * * 1", "America/New_York"))
    assert (found["cluster"], found["cron"]) == ("new-york", "0 3 * * 1")
    assert convert(chosen, queue="mail")["cluster"] == "mail"
    assert convert()["cluster"] is None


@pytest.mark.parametrize(
    ("number", "period", "expected"),
    [
        (1, "days", {"schedule_type": "I", "minutes": 1440}),
        (2, "hours", {"schedule_type": "I", "minutes": 120}),
        (5, "minutes", {"schedule_type": "I", "minutes": 5}),
        (90, "minutes", {"schedule_type": "I", "minutes": 90}),
        (120, "seconds", {"schedule_type": "I", "minutes": 2}),
        (10, "seconds", {"schedule_type": "C", "cron": "* * * * * */10"}),
    ],
)
def test_interval_becomes_minutes_or_seconds(number, period, expected):
    found = convert(interval=every(number, period))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(("number", "period"), [(7, "seconds"), (90, "seconds"), (500, "microseconds"), (40, "days")])
def test_interval_without_a_type_is_refused(number, period):
    with pytest.raises(ScheduleError, match=f"its interval, {number} {period}"):
        convert(interval=every(number, period))


@pytest.mark.parametrize(("ago", "due"), [(20, 40), (90, 0)])
def test_interval_continues_after_its_last_run(ago, due):
    found = convert(last_run_at=NOW - timedelta(minutes=ago))
    assert found["next_run"] == NOW + timedelta(minutes=due)


def test_start_time_is_the_first_slot():
    start = NOW + timedelta(days=3)
    assert convert(start_time=start)["next_run"] == start
    assert convert(crontab=crontab("0 3 * * *"), start_time=start)["next_run"] == start
    assert "next_run" not in convert(crontab=crontab("0 3 * * *"), start_time=NOW - timedelta(days=3))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Europe/Paris"])
def test_crontab_of_the_same_local_time_is_kept(zone):
    found = convert(crontab=crontab("*/5 3,4 1-7 */2 *", zone))
    assert (found["schedule_type"], found["cron"]) == ("C", "*/5 3,4 1-7 */2 *")


@pytest.mark.parametrize(
    ("ours", "theirs", "hours", "expected"),
    [
        ("UTC", "Asia/Tokyo", "3", "18"),
        ("Asia/Tokyo", "UTC", "3,20", "5,12"),
        ("Europe/Berlin", "Europe/London", "23", "0"),
    ],
)
def test_crontab_of_another_zone_is_shifted(ours, theirs, hours, expected):
    settings = ClusterSettings(name="shop", time_zone=ours)
    assert convert(settings, crontab=crontab(f"30 {hours} * * *", theirs))["cron"] == f"30 {expected} * * *"


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("0 3 * * *", "America/New_York"),  # the clocks change on other days than in Berlin
        ("0 3 * * 1", "Europe/London"),  # another day, perhaps
        ("0 1-3 * * *", "Europe/London"),
        ("0 3 * * *", "Asia/Kolkata"),
    ],
)
def test_crontab_that_cannot_be_shifted_is_refused(text, zone):
    with pytest.raises(ScheduleError, match=f"its time zone is {zone}, and that of the cluster Europe/Berlin"):
        convert(crontab=crontab(text, zone))


def test_crontab_with_both_kinds_of_days_is_refused():
    with pytest.raises(ScheduleError, match="in Celery both must match"):
        convert(crontab=crontab("0 3 1 * 1"))


def test_clocked_task_becomes_a_once_schedule():
    moment = NOW + timedelta(days=1)
    found = convert(clocked=SimpleNamespace(clocked_time=moment), one_off=True)
    assert (found["schedule_type"], found["next_run"], found["repeats"]) == ("O", moment, -1)


def test_one_off_and_disabled_tasks_have_repeats():
    assert convert(one_off=True)["repeats"] == 1
    assert convert(enabled=False, one_off=True)["repeats"] == 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"interval": None}, "follows the sun"),
        ({"task": "shop.no_such.task"}, "no function has the path 'shop.no_such.task'"),
        ({"task": "celery.backend_cleanup"}, "a task of Celery itself"),
        ({"args": "[1"}, "no JSON"),
        ({"kwargs": "[1]"}, "a list, expected a dict"),
        ({"expires": NOW - timedelta(days=1)}, "it expired at 2026-01-14 12:00"),
    ],
)
def test_other_tasks_are_refused_with_the_reason(values, reason):
    with pytest.raises(ScheduleError, match=reason):
        convert(**values)
