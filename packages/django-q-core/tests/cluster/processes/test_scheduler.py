"""The scheduler's loop on a simulated clock."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
from django.db import IntegrityError, OperationalError, connection
from django_q import reporters
from django_q.brokers.memory_queue import MemoryQueue
from django_q.cluster import commands, maintenance, statistics
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.marks import CommandMarks
from django_q.cluster.ipc.state import ClusterState, Phase
from django_q.cluster.processes import scheduler as module
from django_q.cluster.processes.scheduler import Scheduler
from django_q.exceptions import BrokerUnavailable, UnreadableArguments
from django_q.models import Schedule, Task
from django_q.records import maintenance as record_maintenance
from django_q.schedules import due as due_module
from django_q.schedules.scheduler_pass import Pass
from django_q.settings import current_settings
from django_q.status import TTL_SECONDS

pytestmark = pytest.mark.django_db

BEGAN = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)


class Clock:
    """Simulated clock, which advances while the scheduler sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.seconds)

    def wait(self, seconds: float) -> None:
        """Advance the clock instead of sleeping."""
        self.waits.append(seconds)
        self.seconds += max(seconds, 0.0001)


@pytest.fixture
def clock(monkeypatch):
    """Simulated clock of all modules."""
    clock = Clock()
    for each in (module, statistics, maintenance, commands, record_maintenance):
        monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(module, "clock_now", clock.now)
    monkeypatch.setattr(due_module, "clock_now", clock.now)
    monkeypatch.setattr(
        module, "synchronise", lambda settings: SimpleNamespace(created=[], updated=[], removed=[], broken=[])
    )
    return clock


@pytest.fixture
def running(clock):
    """Return a function that creates and starts a scheduler."""
    made = []

    def make(**changes) -> Scheduler:
        settings = replace(current_settings(), **changes)
        state = ClusterState(settings.workers)
        state.phase = Phase.RUNNING
        wiring = SimpleNamespace(
            settings=settings,
            cluster_id="0" * 32,
            state=state,
            wake_scheduler=clock,
            commands=Channel(),
            marks=CommandMarks(),
        )
        made.append(Scheduler(wiring))
        made[-1].start()
        made[-1].broker.delete_queue()
        return made[-1]

    yield make
    for each in made:
        each.broker.delete_queue()


def run(scheduler: Scheduler, clock: Clock, until: float) -> None:
    """Execute steps until a time of the clock."""
    while clock.seconds < until:
        assert scheduler.step()


def test_idle_scheduler_executes_two_statements_a_second(running, clock, due, django_assert_max_num_queries):
    due(next_run=BEGAN + timedelta(hours=1))
    scheduler = running()
    # The first step also checks for a surplus, for another USE_TZ, and that the server accepts writes. Every tenth one
    # checks for running tracked tasks, and every sixtieth one for old records. Each checks for commands.
    with django_assert_max_num_queries(72 + 61):
        run(scheduler, clock, 60)
    assert len(clock.waits) < 130


def test_statistics_are_published_before_they_expire(running, clock, monkeypatch):
    scheduler, published = running(), []
    monkeypatch.setattr(scheduler.broker, "set_stat", lambda key, value, timeout: published.append(clock.seconds))
    run(scheduler, clock, 10)
    pauses = [second - first for first, second in pairwise(published)]
    assert 1 < max(pauses) < TTL_SECONDS / 2
    assert len(published) < 8
    published.clear()
    scheduler.state.reincarnations = 1
    run(scheduler, clock, clock.seconds + 1.1)
    assert published


def test_scheduler_does_not_publish_statistics_of_the_broker(running, clock, monkeypatch):
    published = []
    monkeypatch.setattr(type(running().broker), "keeps_statistics", True)
    monkeypatch.setattr(type(running().broker), "set_stat", lambda self, *args: published.append(args))
    scheduler = running()
    run(scheduler, clock, 10)
    scheduler.stop()
    assert published == []


def test_a_slot_is_sent_when_it_is_due(running, clock, due):
    due(next_run=BEGAN + timedelta(seconds=7.35), schedule_type="O", repeats=1)
    scheduler = running()
    run(scheduler, clock, 7.34)
    assert scheduler.broker.queue_size() == 0
    run(scheduler, clock, 7.36)
    assert scheduler.broker.queue_size() == 1


def test_every_second_is_sent_every_second(running, clock, due):
    due(schedule_type="C", cron="* * * * * *", next_run=BEGAN + timedelta(seconds=1))
    scheduler = running()
    sizes = []
    for second in range(1, 11):
        run(scheduler, clock, second + 0.1)
        sizes.append(scheduler.broker.queue_size())
    assert sizes == list(range(1, 11))


def test_changed_schedules_are_found_within_a_second(running, clock, due):
    later = due(next_run=BEGAN + timedelta(days=1))
    scheduler = running()
    run(scheduler, clock, 10.5)
    due(next_run=clock.now())
    Schedule.objects.filter(pk=later.pk).update(next_run=clock.now())
    run(scheduler, clock, 11.6)
    assert scheduler.broker.queue_size() == 2


def test_rows_locked_by_another_cluster_cause_no_busy_loop(running, clock, monkeypatch):
    scheduler = running()
    monkeypatch.setattr(scheduler.schedules, "run_pass", lambda: Pass(more=True))
    run(scheduler, clock, 2)
    assert len(clock.waits) < 50


def test_scheduler_setting_disables_schedules(running, clock, due, django_assert_num_queries):
    due(next_run=BEGAN)
    scheduler = running(scheduler=False)
    # First a check for a surplus, due batches, running tracked tasks, old records and expired commands; then commands
    probes = connection.vendor in ("mysql", "postgresql")  # that the server accepts writes
    with django_assert_num_queries(5 + 5 + probes):
        run(scheduler, clock, 5)
    assert scheduler.broker.queue_size() == 0


@pytest.mark.parametrize("sends", [True, False])
def test_limit_holds_within_two_seconds_whether_it_sends_or_not(running, clock, sends):
    scheduler = running(scheduler=sends, save_limit=2)
    run(scheduler, clock, 5.5)
    for number in range(9):
        Task.objects.create(id=f"{number:032}", name="n", func="f", started=BEGAN, stopped=BEGAN, success=True)
    scheduler.state.saved += 9
    run(scheduler, clock, 7.5)
    assert set(Task.objects.values_list("id", flat=True)) == {f"{number:032}" for number in (7, 8)}


def test_unavailable_database_is_retried_and_logged_once(running, clock, due, monkeypatch, caplog):
    due(next_run=BEGAN)
    scheduler = running()
    run_pass = scheduler.schedules.run_pass

    def away():
        raise OperationalError("the server is away")

    monkeypatch.setattr(module, "close_connections", lambda: None)
    monkeypatch.setattr(scheduler.schedules, "run_pass", away)
    caplog.set_level(logging.INFO, "django-q")
    run(scheduler, clock, 30)
    monkeypatch.setattr(scheduler.schedules, "run_pass", run_pass)
    run(scheduler, clock, 45)
    assert scheduler.broker.queue_size() == 1
    assert caplog.text.count("the server is away") == 1
    assert caplog.text.count("scheduling resumed") == 1


def test_unavailable_broker_is_retried_and_logged_once(running, clock, due, monkeypatch, caplog):
    due(next_run=BEGAN)
    scheduler = running()

    def away(self, packages, *options):
        raise BrokerUnavailable("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryQueue, "put", away)
        run(scheduler, clock, 30)
    run(scheduler, clock, 45)
    assert scheduler.broker.queue_size() == 1
    assert caplog.text.count("connection refused") == 1


def test_sent_skipped_and_broken_schedules_are_logged(running, clock, due, caplog):
    due(name="good", overlap=False, schedule_type="C", cron="* * * * * *", next_run=BEGAN)
    due(name="bad", args="nonsense")
    caplog.set_level(logging.INFO, "django-q")
    run(running(), clock, 2.5)
    assert "from schedule [good]" in caplog.text
    assert "skipped a slot of schedule [good]" in caplog.text
    assert "cannot send schedule [bad] (UnreadableArguments: 'nonsense' cannot be read" in caplog.text


def test_broken_schedule_is_logged_once_and_when_it_works_again(running, clock, due, caplog):
    bad = due(name="bad", args="nonsense")
    caplog.set_level(logging.INFO, "django-q")
    scheduler = running()
    run(scheduler, clock, 95)
    assert caplog.text.count("cannot send schedule [bad]") == 1
    Schedule.objects.filter(pk=bad.pk).update(args="[1.5]", retry_at=None)
    run(scheduler, clock, 130)
    assert caplog.text.count("schedule [bad] is sent again") == 1
    assert scheduler.broken == {}


@pytest.fixture
def reported(monkeypatch):
    """Errors that the scheduler reports."""
    reported = []
    monkeypatch.setattr(reporters, "report_in_time", lambda error, settings: reported.append(error))
    return reported


def test_broken_schedule_is_reported_once_with_its_cause(running, clock, due, reported):
    due(name="bad", args="nonsense")
    run(running(), clock, 95)
    (error,) = reported
    assert str(error).startswith("Schedule [bad] cannot be sent: UnreadableArguments: 'nonsense'")
    assert isinstance(error.__cause__, UnreadableArguments)


@pytest.mark.parametrize("mistake", [ValueError("a router's mistake"), IntegrityError("a constraint of the project")])
def test_error_of_the_scheduler_is_reported_once(running, clock, monkeypatch, reported, mistake):
    def fail():
        raise mistake

    monkeypatch.setattr(module, "close_connections", lambda: None)
    scheduler = running()
    monkeypatch.setattr(scheduler.schedules, "run_pass", fail)
    run(scheduler, clock, 30)
    assert reported == [mistake]


@pytest.mark.parametrize("outage", [OperationalError("the server is away"), BrokerUnavailable("connection refused")])
def test_outage_of_a_server_is_not_reported(running, clock, monkeypatch, reported, outage):
    monkeypatch.setattr(module, "close_connections", lambda: None)
    scheduler = running()
    result = Pass(own_queue_error=outage)

    def away():
        if isinstance(outage, OperationalError):
            raise outage
        return result

    monkeypatch.setattr(scheduler.schedules, "run_pass", away)
    run(scheduler, clock, 30)
    assert reported == []


def test_invalid_declared_schedules_are_reported(running, clock, monkeypatch, reported):
    mistakes = [("nightly", ValueError("no such cron")), ("shop.tasks", ImportError("no such module"))]
    changes = SimpleNamespace(created=[], updated=[], removed=[], broken=mistakes, modules={"shop.tasks"})
    monkeypatch.setattr(module, "synchronise", lambda settings: changes)
    run(running(), clock, 5)
    assert reported == [error for _, error in mistakes]


def test_scheduler_ends_when_the_cluster_stops(running):
    scheduler = running()
    scheduler.state.phase = Phase.STOPPING
    assert scheduler.step() is False


# old names


def test_scheduler_of_the_public_editions_sends_due_tasks(clockwork, due):
    from django_q import cluster
    from django_q.cluster import scheduler
    from django_q.scheduler import scheduler as newer

    assert scheduler is newer is cluster.scheduler
    clock = clockwork()
    due(args="1.5", schedule_type="O")
    due(args="2.5", schedule_type="O", next_run=BEGAN + timedelta(days=36500))
    assert scheduler() is None
    assert [package["args"] for package in clock.queued()] == [(1.5,)]
    due(args="3.5", schedule_type="O")
    scheduler(broker=clock.broker)
    assert [package["args"] for package in clock.queued()] == [(3.5,)]
