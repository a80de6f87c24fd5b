"""Maintenance runs once a second, executes no statement while there is no work, and survives errors."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django_q import reporters
from django_q.cluster import maintenance as module
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.maintenance import Maintenance
from django_q.execution import Executor
from django_q.models import Success
from django_q.results.database import DatabaseResults
from django_q.settings import ClusterSettings
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


@pytest.fixture
def maintenance(clock):
    settings = ClusterSettings.from_mapping({"save_limit": 3})
    return Maintenance("Process-1:3", settings, ClusterState(1))


def save(maintenance: Maintenance, count: int) -> None:
    """Save successes and count them, like a monitor."""
    settings = maintenance.pruner.settings
    executor = Executor(settings)
    outcomes = [executor.execute(new_package("math.floor", (1.5,))) for _ in range(count)]
    DatabaseResults(settings).save_many(outcomes)
    maintenance.state.saved += count


def test_limit_holds_after_the_next_step(maintenance, clock) -> None:
    for second in range(5):
        clock.seconds = second
        save(maintenance, 5)
        maintenance.step()
        assert Success.objects.count() == 3


def test_surplus_of_an_earlier_cluster_is_pruned(maintenance, clock) -> None:
    """The limit was lowered, or another edition has left the rows."""
    save(maintenance, 9)
    maintenance.state.saved = 0
    maintenance.step()
    assert Success.objects.count() == 3


def test_idle_cluster_executes_no_statement(maintenance, clock, django_assert_num_queries) -> None:
    save(maintenance, 5)
    maintenance.step()
    with django_assert_num_queries(0):
        for second in range(1, 60):
            clock.seconds = second
            maintenance.step()


def test_steps_are_a_second_apart(maintenance, clock, monkeypatch) -> None:
    steps = []
    monkeypatch.setattr(maintenance, "jobs", (lambda: steps.append(clock.seconds),))
    for tenth in range(30):
        clock.seconds = tenth / 10
        maintenance.step()
    assert steps == [0.0, 1.0, 2.0]


def test_step_that_takes_long_is_followed_by_a_longer_pause(maintenance, clock, monkeypatch) -> None:
    def slow() -> None:
        clock.seconds += 2

    monkeypatch.setattr(maintenance, "jobs", (slow,))
    maintenance.step()
    assert maintenance.due == 8


def test_pruning_of_a_surplus_continues_in_the_next_step(maintenance, clock, monkeypatch) -> None:
    answers = [True, True, False]
    monkeypatch.setattr(maintenance.pruner, "prune", lambda: answers.pop(0))
    for second in range(9):
        clock.seconds = second
        maintenance.step()
    assert answers == []


@pytest.mark.parametrize("error", [OperationalError("the server is away"), ValueError("a router's mistake")])
def test_error_is_logged_once_and_tried_again(maintenance, clock, monkeypatch, caplog, error) -> None:
    """It is also reported once, unless a server is away."""
    caplog.set_level(logging.INFO, "django-q")
    calls, reported = [], []
    monkeypatch.setattr(reporters, "report_in_time", lambda error, settings: reported.append(error))

    def fail() -> bool:
        calls.append(clock.seconds)
        if len(calls) < 4:
            raise error
        return False

    monkeypatch.setattr(maintenance.pruner, "prune", fail)
    monkeypatch.setattr(module, "close_connections", lambda: None)
    for second in range(60):
        clock.seconds = second
        maintenance.step()
    assert len(calls) == 4
    assert caplog.text.count("maintenance failed") == 1
    assert caplog.text.count("maintenance succeeded again") == 1
    assert ("Traceback" in caplog.text) is isinstance(error, ValueError)
    assert reported == ([error] if isinstance(error, ValueError) else [])


def test_further_jobs_run_in_each_step(maintenance, clock) -> None:
    ran = []
    other = Maintenance("Process-1:3", maintenance.pruner.settings, maintenance.state, lambda: ran.append(1))
    for second in range(3):
        clock.seconds = second
        other.step()
    assert ran == [1, 1, 1]


def test_job_that_fails_does_not_stop_the_others(maintenance, monkeypatch) -> None:
    ran = []

    def fail() -> None:
        raise ValueError

    monkeypatch.setattr(maintenance, "jobs", (fail, lambda: ran.append(1)))
    maintenance.step()
    assert ran == [1]
