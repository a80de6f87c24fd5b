"""Activity is counted for each attempt, and written once in ten seconds, if an attempt has ended."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django_q.brokers.memory import MemoryBroker
from django_q.cluster import activity as module
from django_q.cluster import maintenance
from django_q.cluster.activity import ActivityWriter, numbers_of
from django_q.cluster.ipc.activity import Numbers
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.maintenance import Maintenance
from django_q.cluster.processes.monitor import Monitor
from django_q.finishing import Finisher
from django_q.models import Activity
from django_q.settings import ClusterSettings

pytestmark = pytest.mark.django_db

FIRST, SECOND = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
NOON = 29_000_000 * 60
"""A full minute, in seconds since the epoch."""
DAY = 24 * 60
"""Minutes of a day."""


@pytest.fixture
def clock(monkeypatch):
    """Simulated time of all writers."""
    clock = SimpleNamespace(seconds=NOON)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock.seconds))
    return clock


@pytest.fixture
def state(clock) -> ClusterState:
    """Shared memory of one cluster."""
    return ClusterState(1)


@pytest.fixture
def writer(state) -> ActivityWriter:
    """Writer of one cluster."""
    return ActivityWriter(state, FIRST)


def rows() -> list[tuple]:
    """Return minutes after noon and numbers of all rows."""
    columns = ("minute", "successes", "failures", "waits", "wait_seconds")
    return [(minute - NOON // 60, *rest) for minute, *rest in Activity.objects.order_by("pk").values_list(*columns)]


def refuse(execute, sql, params, many, context):
    """Fail each statement about activity, as a server does that is away."""
    if "django_q_activity" in sql:
        raise OperationalError("the server is away")
    return execute(sql, params, many, context)


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({}, Numbers(1, 0, 1, 3.0)),
        ({"success": False}, Numbers(0, 1, 1, 3.0)),
        ({"success": False, "attempt": 2}, Numbers(0, 1, 0, 0.0)),
        ({"success": False, "duration": None}, Numbers(0, 1, 0, 0.0)),
        ({"success": False, "cancelled": True}, Numbers()),
        ({"repeated": True}, Numbers()),
    ],
)
def test_numbers_are_those_of_one_attempt(outcome, fields, numbers) -> None:
    sent = datetime(2025, 6, 2, tzinfo=UTC)
    times = {"started": sent, "stopped": sent + timedelta(seconds=5), "duration": 2.0}
    assert numbers_of(outcome(**times | fields)) == numbers


def test_numbers_of_an_interval_are_one_row(writer, state, clock) -> None:
    for _ in range(3):
        state.activity.add(Numbers(1, 0, 1, 0.5))
    state.activity.add(Numbers(failures=1))
    writer.step()
    assert rows() == []
    clock.seconds += 10
    writer.step()
    assert rows() == [(0, 3, 1, 3, 1.5)]
    assert Activity.objects.get().cluster_id == FIRST.replace("-", "")


def test_row_of_the_minute_grows(writer, state, clock) -> None:
    for _ in range(6):
        state.activity.add(Numbers(1, 1, 1, 0.25))
        clock.seconds += 10
        writer.step()
    assert rows() == [(0, 6, 6, 6, 1.5)]


def test_interval_belongs_to_the_minute_in_which_it_began(writer, state, clock) -> None:
    for second in (55, 65):
        clock.seconds = NOON + second
        writer.step()
        state.activity.add(Numbers(successes=second))
    clock.seconds = NOON + 70
    writer.step()
    assert rows() == [(0, 55, 0, 0, 0.0), (1, 65, 0, 0, 0.0)]


def test_idle_cluster_executes_no_statement(writer, state, clock, django_assert_num_queries) -> None:
    for seconds in range(1, 100):
        state.activity.add(Numbers(1, 0, 1, seconds / 7))
        clock.seconds += 10
        writer.step()
        with django_assert_num_queries(0):
            clock.seconds += 10
            writer.step()


def test_busy_cluster_executes_a_statement_in_ten_seconds(writer, state, clock) -> None:
    with CaptureQueriesContext(connection) as queries:
        for _ in range(60):
            state.activity.add(Numbers(successes=1))
            clock.seconds += 1
            writer.step()
    assert len(queries) == 6 + 2  # the first one finds no row, inserts it, and deletes old ones


def test_killed_scheduler_loses_and_repeats_no_number(writer, state, clock) -> None:
    state.activity.add(Numbers(successes=1))
    clock.seconds += 10
    writer.step()
    state.activity.add(Numbers(successes=2))
    successor = ActivityWriter(state, FIRST)
    clock.seconds += 10
    successor.step()
    assert rows() == [(0, 3, 0, 0, 0.0)]


def test_clusters_have_rows_of_their_own(writer, state, clock) -> None:
    other = ClusterState(1)
    writers = (writer, ActivityWriter(other, SECOND))
    state.activity.add(Numbers(successes=1))
    other.activity.add(Numbers(successes=2))
    clock.seconds += 10
    for each in writers:
        each.step()
    assert rows() == [(0, 1, 0, 0, 0.0), (0, 2, 0, 0, 0.0)]


def test_restarted_cluster_begins_with_a_row_of_its_own(writer, state, clock) -> None:
    state.activity.add(Numbers(successes=5))
    clock.seconds += 10
    writer.step()
    restarted = ClusterState(1)
    successor = ActivityWriter(restarted, SECOND)
    restarted.activity.add(Numbers(successes=1))
    clock.seconds += 10
    successor.step()
    assert rows() == [(0, 5, 0, 0, 0.0), (0, 1, 0, 0, 0.0)]


def test_rows_older_than_a_day_are_deleted(writer, state, clock) -> None:
    minute = NOON // 60
    numbers = {"successes": 1, "failures": 0, "waits": 0, "wait_seconds": 0.0, "cluster_id": "x"}
    for age in (1, DAY, DAY + 1, 7 * DAY):
        Activity.objects.create(minute=minute - age, **numbers)
    state.activity.add(Numbers(successes=1))
    clock.seconds += 10
    writer.step()
    assert [row[0] for row in rows()] == [-1, -DAY, 0]


def test_rows_of_a_day_are_at_most_one_a_minute(writer, state, clock) -> None:
    for _ in range(3 * DAY):
        state.activity.add(Numbers(successes=1))
        clock.seconds += 60
        writer.step()
    assert DAY <= Activity.objects.count() <= DAY + module.PRUNING_INTERVAL_MINUTES


def test_clock_that_is_set_back_stops_nothing(writer, state, clock) -> None:
    for seconds in (600, -600, 20):
        clock.seconds += seconds
        state.activity.add(Numbers(successes=1))
        writer.step()
    assert [row[:2] for row in rows()] == [(9, 1), (-1, 1), (0, 1)]


def test_numbers_survive_an_outage_of_the_database(writer, state, clock, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO, "django-q")
    monkeypatch.setattr(maintenance, "close_connections", lambda: None)
    monkeypatch.setattr(maintenance, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    jobs = Maintenance("Process-1:3", ClusterSettings.from_mapping({}), state, writer.step)
    jobs.step()
    state.activity.add(Numbers(1, 1, 1, 0.5))
    with connection.execute_wrapper(refuse):
        for _ in range(100):
            clock.seconds += 1
            jobs.step()
    assert rows() == []
    for _ in range(20):
        clock.seconds += 1
        jobs.step()
    assert [row[1:] for row in rows()] == [(1, 1, 1, 0.5)]
    assert caplog.text.count("maintenance failed") == 1
    assert caplog.text.count("maintenance succeeded again") == 1


@pytest.fixture
def monitor(state, monkeypatch) -> Monitor:
    """Monitor that has received the message to stop."""
    settings = ClusterSettings.from_mapping({"name": "test"})
    wiring = SimpleNamespace(
        settings=settings, tasks=Channel(), results=Channel(), state=state, cluster_id=FIRST, tallies=None
    )
    monitor = Monitor(wiring)
    monitor.broker = MemoryBroker("test", settings=settings)
    monitor.finisher = Finisher(settings, monitor.broker)
    monitor.watchdog = SimpleNamespace(stop=lambda: None)
    monitor.is_stopping = True
    return monitor


def test_monitor_counts_what_it_has_saved(monitor, state, outcome) -> None:
    monitor._add(outcome(duration=0.5))
    monitor._add(outcome(duration=0.5, success=False, final=True))
    monitor._settle()
    assert state.activity.numbers[:3] == (1, 1, 2)


def test_results_that_are_not_in_the_database_count(monitor, state, outcome) -> None:
    monitor._add(outcome(duration=0.5, save=False))
    monitor._add(outcome(duration=0.5, cached=60))
    monitor._settle()
    assert state.activity.numbers.successes == 2


def test_stopping_monitor_writes_the_last_numbers(monitor, state) -> None:
    state.activity.add(Numbers(2, 1, 1, 0.5))
    monitor.stop()
    assert rows() == [(0, 2, 1, 1, 0.5)]


def test_monitor_that_ends_while_the_cluster_runs_writes_nothing(monitor, state) -> None:
    monitor.is_stopping = False
    state.activity.add(Numbers(successes=1))
    monitor.stop()
    assert rows() == []


def test_error_at_the_stop_is_logged_and_stops_nothing(monitor, state, caplog) -> None:
    state.activity.add(Numbers(successes=1))
    with connection.execute_wrapper(refuse):
        monitor.stop()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert ["the last activity is not written" in record.getMessage() for record in warnings] == [True]
