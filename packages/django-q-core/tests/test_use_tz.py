"""A site that changes `USE_TZ` keeps its tasks, groups, batches and schedules, and their times."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.utils import timezone
from django_q import clock
from django_q.models import Schedule, Task
from django_q.results.cache import CacheResults
from django_q.results.limits import fit
from django_q.scheduler import scheduler
from django_q.settings import current_settings
from django_q.status import Stat
from django_q.tasks import (
    async_task,
    fetch,
    fetch_group,
    fetch_group_cached,
    result_group,
    result_group_cached,
    schedule,
)
from django_q.wire.codec import ResultCodec
from django_q.wire.ids import new_id
from django_q.wire.options import normalise_package
from django_q.wire.outcome import encode
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db

ZONES = ["America/Chicago", "Europe/Amsterdam", "Asia/Kolkata"]
"""Zones behind UTC, ahead of it, and with an offset of no whole hours. The first is Django's default."""


@pytest.fixture(params=[True, False], ids=["to naive", "to aware"])
def before(request):
    """Value of `USE_TZ` before the change."""
    return request.param


@pytest.fixture(params=ZONES)
def change(request, settings, before):
    """Return a function that changes `USE_TZ`, after setting the earlier value."""
    settings.TIME_ZONE, settings.USE_TZ = request.param, before

    def turn() -> None:
        settings.USE_TZ = not before

    return turn


def instant(moment: datetime) -> datetime:
    """Return a time of the site in UTC."""
    zone = timezone.get_default_timezone()
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


# dates


def test_date_of_the_other_kind_is_the_same_time(change):
    now = timezone.now()
    change()
    here = clock.in_project_time(now)
    assert timezone.is_aware(here) is timezone.is_aware(timezone.now())
    assert instant(here) == instant(now)


def test_zone_activated_by_a_task_has_no_effect(change):
    now = timezone.now()
    change()
    with timezone.override("Pacific/Auckland"):
        assert instant(clock.in_project_time(now)) == instant(now)


@pytest.mark.parametrize("started", [datetime.min, datetime.max.replace(tzinfo=UTC), "yesterday", None])
def test_package_with_an_impossible_date_is_read(change, started):
    change()
    package = normalise_package({**new_package("math.copysign", (2, -2)), "started": started})
    assert isinstance(package["started"], datetime)
    assert timezone.is_aware(package["started"]) is timezone.is_aware(timezone.now())


def test_earlier_package_gets_a_date_of_its_receiver(change):
    package = new_package("math.copysign", (2, -2))
    sent = package["started"]
    change()
    received = normalise_package(package)
    assert timezone.is_aware(received["started"]) is timezone.is_aware(timezone.now())
    assert instant(received["started"]) == instant(sent)
    assert timezone.now() - received["started"] < timedelta(minutes=1)


# tasks and groups


def finished(label: str, number: int) -> dict[str, object]:
    package = new_package("math.floor", (number,), group=label, cached=True)
    return {**package, "result": number, "success": True, "stopped": timezone.now()}


def keep(label: str, numbers: list[int], outcome) -> None:
    """Keep finished tasks in the cache, as a cluster does."""
    settings = current_settings()
    packages = [finished(label, number) for number in numbers]
    codec = ResultCodec.of(settings)
    outcomes = [
        outcome(id=each["id"], group=label, cached=True, started=each["started"], finished=codec.dumps(each))
        for each in packages
    ]
    CacheResults(settings).save_many(outcomes)


@pytest.fixture
def outcome():
    from django_q.wire.outcome import Outcome

    def make(**values):
        defaults = {
            "name": "n", "func": "math.floor", "hook": None, "args": encode((1,)), "kwargs": encode({}),
            "result": encode(1), "cluster": "c", "stopped": timezone.now(), "success": True, "group": None,
        }  # fmt: skip
        return Outcome(**defaults | values)

    return make


def test_cached_group_is_in_the_order_of_sending(change, outcome):
    label = new_id()
    keep(label, [1, 2], outcome)
    change()
    keep(label, [3], outcome)
    assert result_group_cached(label) == [1, 2, 3]
    tasks = fetch_group_cached(label)
    assert [task.result for task in tasks] == [1, 2, 3]
    assert all(0 <= task.time_taken() < 60 for task in tasks)
    for task in tasks:
        task.save()
    assert {task.result for task in fetch_group(label)} == {1, 2, 3}
    assert sorted(result_group(label)) == [1, 2, 3]


def test_task_that_was_sent_before_is_saved(change, outcome):
    sent = timezone.now()
    change()
    stored = fit(outcome(id="a" * 32, started=sent))
    assert instant(stored.started) == instant(sent)
    task = Task.from_package({**finished("g", 1), "started": sent}, saved=False)
    task.save()
    assert 0 <= fetch(task.id).time_taken() < 60


def test_task_in_sync_mode_with_a_date_of_the_other_kind(change):
    task_id = async_task("math.copysign", 2, -2, sync=True)
    change()
    assert fetch(task_id).result == -2
    assert fetch(task_id).time_taken() < 60


# clusters


def test_uptime_of_a_cluster_is_that_of_its_reader(change):
    stat = pickle.dumps(Stat(tob=timezone.now() - timedelta(minutes=1)))
    change()
    assert 59 < pickle.loads(stat).uptime() < 120


# schedules


def test_schedule_keeps_its_time(change):
    soon = timezone.now().replace(microsecond=0) + timedelta(minutes=90)
    made = schedule("math.copysign", 2, -2, schedule_type=Schedule.DAILY, next_run=soon)
    change()
    assert instant(Schedule.objects.get(pk=made.pk).next_run) == instant(soon)
    scheduler()
    made = Schedule.objects.get(pk=made.pk)
    assert instant(made.next_run) == instant(soon)
    assert made.task is None


def test_due_schedule_is_sent_once_and_keeps_its_local_time(change):
    zone = timezone.get_default_timezone()
    due = timezone.now().replace(microsecond=0) - timedelta(minutes=1)
    made = schedule("math.copysign", 2, -2, schedule_type=Schedule.DAILY, next_run=due, repeats=5)
    change()
    scheduler()
    made.refresh_from_db()
    assert (made.repeats, made.runs) == (4, 1)
    before, after = instant(due).astimezone(zone), instant(made.next_run).astimezone(zone)
    assert (after.date() - before.date(), after.time()) == (timedelta(days=1), before.time())


def test_schedule_saved_after_the_change_keeps_its_time(change):
    soon = timezone.now() + timedelta(hours=1)
    old = schedule("math.copysign", 2, -2, next_run=soon)
    change()
    Schedule.objects.get(pk=old.pk).save()
    new = schedule("math.copysign", 2, -2, next_run=clock.in_project_time(soon))
    scheduler()
    assert {instant(each.next_run) for each in Schedule.objects.filter(pk__in=[old.pk, new.pk])} == {instant(soon)}


def test_schedule_without_known_zone_is_not_converted(change):
    change()
    soon = timezone.now() + timedelta(hours=1)
    Schedule.objects.bulk_create([Schedule(func="math.floor", next_run=soon)])
    scheduler()
    assert instant(Schedule.objects.get().next_run) == instant(soon)


def test_date_without_a_zone_is_in_the_zone_of_the_site(settings):
    settings.TIME_ZONE = "Europe/Amsterdam"
    made = Schedule(func="math.floor", next_run=datetime(2026, 1, 5, 8))
    assert made.next_run == datetime(2026, 1, 5, 8, tzinfo=ZoneInfo("Europe/Amsterdam"))


def test_database_with_time_zones_needs_no_zone_of_a_schedule():
    made = schedule("math.copysign", 2, -2)
    assert (made.zone is None) is connection.features.supports_timezones
