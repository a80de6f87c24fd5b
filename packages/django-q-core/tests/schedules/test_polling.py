"""The check for due schedules finds the same rows as the query."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.models import Schedule
from django_q.schedules.due import LOOK_AHEAD, DueSchedules
from django_q.schedules.polling import is_in_code, is_in_other_zone, is_soon_due
from django_q.settings import ClusterSettings

pytestmark = pytest.mark.django_db

HALF_A_SECOND, ONE_HOUR = timedelta(seconds=0.5), timedelta(hours=1)


@pytest.mark.parametrize("cluster", [None, "", "mine", "other"])
@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({"next_run": HALF_A_SECOND}, True),
        ({"next_run": ONE_HOUR}, False),
        ({"next_run": HALF_A_SECOND, "repeats": 0}, False),
        ({"next_run": HALF_A_SECOND, "retry_at": -HALF_A_SECOND}, True),
        ({"next_run": HALF_A_SECOND, "retry_at": HALF_A_SECOND}, False),
    ],
)
def test_poll_finds_due_schedules(cluster, default, fields, due):
    now = timezone.now()
    moments = {name: now + value if isinstance(value, timedelta) else value for name, value in fields.items()}
    Schedule.objects.bulk_create([Schedule(func="math.floor", cluster=cluster, **moments)])
    settings = ClusterSettings.from_mapping({"name": "mine" if default else "x", "cluster_name": "mine"})
    expected = DueSchedules(settings, MemoryBroker("mine")).ours(now).filter(next_run__lte=now + LOOK_AHEAD).exists()
    assert is_soon_due(settings, "default", now, now + LOOK_AHEAD) == expected
    mine = cluster == "mine" or (settings.is_default_cluster and not cluster)
    assert expected == (due and mine)


def test_poll_finds_schedules_declared_in_code():
    settings = ClusterSettings.from_mapping({"name": "mine"})
    Schedule.objects.bulk_create([Schedule(func="math.floor")])
    assert not is_in_code(settings, "default")
    Schedule.objects.update(in_code=True)
    assert is_in_code(settings, "default")


@pytest.mark.parametrize(("zone", "other"), [("UTC", False), ("Asia/Tokyo", True), (None, True)])
def test_poll_finds_schedules_of_another_zone(zone, other):
    assert not is_in_other_zone("default", "UTC")
    schedule = Schedule.objects.create(func="math.floor")
    Schedule.objects.filter(pk=schedule.pk).update(zone=zone)
    assert is_in_other_zone("default", "UTC") == other


def test_idle_poll_does_not_load_the_query_compiler(monkeypatch: pytest.MonkeyPatch):
    """Loading it would copy memory that the scheduler shares with its cluster (copy-on-write)."""
    settings = ClusterSettings.from_mapping({"name": "mine"})
    schedules = DueSchedules(settings, MemoryBroker("mine"))
    monkeypatch.setattr(schedules, "ours", None)
    assert schedules.run_pass().next is None
