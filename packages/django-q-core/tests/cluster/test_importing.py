"""A module whose import ends or blocks the scheduler process is not imported again."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django_q.cluster.importing import Imports
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.marks import CommandMarks
from django_q.cluster.ipc.state import ClusterState, Phase
from django_q.cluster.processes.scheduler import Scheduler
from django_q.databases.connections import forget_inherited
from django_q.models import Schedule
from django_q.schedules import synchronising
from django_q.schedules.due import FATAL_REASON, FATAL_RETRY_DELAY
from django_q.schedules.scheduler_pass import RETRY_DELAY
from django_q.settings import current_settings

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def state():
    return ClusterState(1)


@pytest.fixture
def project(monkeypatch, tmp_path):
    """Two declaring modules, of which the first exits."""
    (tmp_path / "fatal_tasks.py").write_text("import os\nos._exit(3)")
    (tmp_path / "good_tasks.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(synchronising, "modules", lambda: ("fatal_tasks", "good_tasks"))
    yield
    for name in ("fatal_tasks", "good_tasks"):
        sys.modules.pop(name, None)


def in_a_fork(work) -> int:
    """Run what may end the process in a fork with connections of its own, as the cluster's processes have.

    Returns:
        The exit code of the fork: 0 if *work* returned, 1 if it raised.
    """
    if not (pid := os.fork()):
        code = 1
        try:
            forget_inherited()
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_successor_does_not_import_the_module_that_ended_it(state, project) -> None:
    assert in_a_fork(Imports(state).import_modules) == 3
    successor = Imports(state)
    assert successor.block_module() == "fatal_tasks"
    successor.import_modules()  # in this very process
    assert "good_tasks" in sys.modules
    assert state.importing == 0
    changes = synchronising.Changes()
    synchronising.discover(changes)
    assert changes.modules == ["fatal_tasks"]


def test_no_module_is_blocked_after_a_regular_end(state, project, monkeypatch) -> None:
    monkeypatch.setattr(synchronising, "modules", lambda: ("good_tasks",))
    Imports(state).import_modules()
    successor = Imports(state)
    assert successor.block_module() is None
    assert successor.take_schedule() is None


def test_module_that_raises_is_not_blocked(state, project, tmp_path) -> None:
    (tmp_path / "fatal_tasks.py").write_text("raise SystemExit(1)")
    Imports(state).import_modules()
    assert Imports(state).fatal == 0


@pytest.mark.django_db(transaction=True)
def test_function_that_ended_the_process_stops_no_other_schedule(state, project, due, monkeypatch, caplog) -> None:
    monkeypatch.setattr(synchronising, "modules", tuple)
    bad = due(func="fatal_tasks.f", next_run=NOW)
    due(name="good", next_run=NOW + timedelta(seconds=1), schedule_type="O", repeats=1)
    state.phase = Phase.RUNNING
    clock = SimpleNamespace(wait=lambda seconds: None)
    wiring = SimpleNamespace(
        settings=current_settings(),
        cluster_id="0" * 32,
        state=state,
        wake_scheduler=clock,
        commands=Channel(),
        marks=CommandMarks(),
    )
    first = Scheduler(wiring)
    first.start()
    first.broker.delete_queue()
    assert in_a_fork(first.schedules.run_pass) == 3
    assert state.importing == bad.pk
    successor = Scheduler(wiring)
    successor.start()
    successor.step()
    assert successor.broker.queue_size() == 1
    bad.refresh_from_db()
    assert bad.last_error == FATAL_REASON
    assert bad.retry_at > NOW
    assert bad.runs == 0
    successor.broker.delete_queue()


def test_function_that_is_fatal_twice_waits_longer(clockwork, due) -> None:
    schedule = due()
    schedules = clockwork().schedules
    schedules.mark_fatal(schedule.pk, NOW)
    assert Schedule.objects.get().retry_at == NOW + RETRY_DELAY
    schedules.mark_fatal(schedule.pk, NOW)
    assert Schedule.objects.get().retry_at == NOW + FATAL_RETRY_DELAY
