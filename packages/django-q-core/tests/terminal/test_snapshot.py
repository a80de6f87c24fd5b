"""Snapshots of the memory broker and the database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import DatabaseError
from django.utils import timezone
from django_q.brokers import broker_of
from django_q.exceptions import BrokerUnavailable
from django_q.models import Record, Schedule, Task
from django_q.status import Stat
from django_q.terminal import snapshot as module
from django_q.terminal.snapshot import Collector

pytestmark = pytest.mark.django_db

LOCMEM = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


@pytest.fixture(autouse=True)
def empty():
    """Begin without statistics and packages."""
    cache.clear()
    broker_of("test").delete_queue()
    yield
    broker_of("test").delete_queue()


def task(number: int, *, hours: float = 0, success: bool = True) -> Task:
    stopped = timezone.now() - timedelta(hours=hours)
    return Task.objects.create(
        id=f"{number:032}", name=str(number), func="math.floor", started=stopped - timedelta(seconds=number),
        stopped=stopped, success=success,
    )  # fmt: skip


def running_record(number: int, **values) -> Record:
    now = timezone.now()
    defaults = {
        "name": f"task-{number}", "func": "math.floor", "queue": "test", "status": "running", "enqueued_at": now,
        "last_attempted_at": now - timedelta(seconds=60), "lease_ends_at": now + timedelta(seconds=60),
        "attempts": [{"number": 1}, {"number": 2, "worker": "host/cluster/9"}],
    }  # fmt: skip
    return Record.objects.create(id=f"{number:032}", **defaults | values)


def test_clusters_are_sorted_by_host():
    for pid, host in [(3, "b"), (1, "b"), (2, "a")]:
        Stat(pid, str(pid), host=host, workers=[1, 2]).save()
    assert [(row.host, row.pid) for row in Collector().snapshot().clusters] == [("a", 2), ("b", 1), ("b", 3)]


def test_statistics_of_a_public_edition_have_no_queue():
    stat = Stat(3, "three")
    del stat.queue
    stat.save()
    assert Collector().snapshot().clusters[0].queue is None


def test_control_characters_of_a_host_name_are_escaped():
    Stat(3, "three", host="\x1b[2Jhost").save()
    assert Collector().snapshot().clusters[0].host == "\\x1b[2Jhost"


def test_queue_has_waiting_packages_leases_and_dead_letters():
    broker = broker_of("test")
    for _ in range(3):
        broker.enqueue("package")
    broker.move_to_dead_letters(broker.dequeue_many(1, 0)[0])
    broker.dequeue_many(1, 0)
    (row,) = Collector().snapshot().queues
    assert (row.name, row.waiting, row.in_flight, row.dead) == ("test", 1, 1, 1)


def test_queues_of_other_clusters_are_counted(settings):
    settings.Q_CLUSTER = settings.Q_CLUSTER | {"ALT_CLUSTERS": {"mail": {}}, "queues": ["default", "bulk"]}
    Stat(3, "three", queue="elsewhere").save()
    assert [row.name for row in Collector().snapshot().queues] == ["test", "mail", "bulk", "elsewhere"]


def test_totals_count_the_last_day():
    task(2)
    task(4, hours=23, success=False)
    task(100, hours=25)
    Schedule.objects.create(func="math.floor")
    totals = Collector().snapshot().totals
    assert (totals.successes, totals.failures, totals.schedules, totals.recent) == (2, 1, 1, 2)
    assert totals.average == pytest.approx(3)


def test_totals_of_an_empty_database_are_zero():
    totals = Collector().snapshot().totals
    assert (totals.successes, totals.failures, totals.recent, totals.average) == (0, 0, 0, 0)


def test_running_tasks_are_those_with_a_lease():
    running_record(1)
    running_record(2, lease_ends_at=timezone.now() - timedelta(seconds=1))
    running_record(3, status="queued")
    (row,) = Collector().snapshot().running
    assert (row.name, row.attempt, row.worker) == ("task-1", 2, "host/cluster/9")
    assert row.seconds == pytest.approx(60, abs=10)


def test_private_cache_is_a_problem(settings):
    settings.CACHES = LOCMEM
    (problem,) = Collector().snapshot().problems
    assert "LocMemCache" in problem
    assert "Q_CLUSTER['cache']" in problem


def test_shared_cache_is_no_problem():
    assert Collector().snapshot().problems == ()


def test_broker_that_is_unavailable_is_a_problem(monkeypatch):
    Stat(3, "three").save()

    def fail(self):
        raise BrokerUnavailable("It is down.")

    monkeypatch.setattr(type(broker_of("test")), "queue_size", fail)
    snapshot = Collector().snapshot()
    assert (snapshot.queues, snapshot.problems, len(snapshot.clusters)) == ((), ("It is down.",), 1)


def test_database_that_cannot_be_read_is_a_problem(monkeypatch):
    def fail():
        raise DatabaseError("no such table")

    monkeypatch.setattr(module, "totals", fail)
    monkeypatch.setattr(module, "running", fail)
    snapshot = Collector().snapshot()
    assert snapshot.totals is None
    (problem,) = snapshot.problems
    assert "no such table" in problem


def test_details_are_read_every_few_seconds(django_assert_num_queries):
    collector = Collector()
    collector.snapshot()
    with django_assert_num_queries(0):
        assert collector.snapshot().totals is not None
    collector.details_due = 0
    with django_assert_num_queries(4):
        collector.snapshot()
