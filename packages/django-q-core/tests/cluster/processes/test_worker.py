"""Steps of a worker before it executes a task."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connections
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.cluster import look_ups
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.marks import CommandMarks
from django_q.cluster.ipc.messages import Returned, TaskMessage, Unreadable, unpack
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.processes.worker import Worker
from django_q.finishing import Finisher, acknowledges
from django_q.models import Task
from django_q.settings import ClusterSettings
from django_q.status import Stat
from django_q.wire.codec import PackageCodec, ResultCodec, StatCodec
from django_q.wire.outcome import decode
from django_q.wire.package import new_package

from tests.databases import ask, reachable

CALLS: list[object] = []


def run(argument):
    CALLS.append("run")
    return "done"


def note(file, child):
    with file.open("a") as notes:
        notes.write("run ")
    return child


def fork(raises):
    """Return, or raise, in two processes."""
    CALLS.append(os.fork())
    if raises:
        raise ValueError
    return os.getpid()


class Poison:
    """Argument that raises while it is unpickled."""

    def __reduce__(self):
        return CALLS.append, ("unpickled",)


class Forking:
    """Argument that forks while it is unpickled."""

    def __reduce__(self):
        return os.fork, ()


class Moving:
    """Argument that changes the directory while it is unpickled, and then raises an error, if it has one."""

    def __init__(self, error=None):
        self.error = error

    def __reduce__(self):
        return move, (self.error,)


def move(error):
    os.chdir("/")
    if error is not None:
        raise error


@pytest.fixture
def work(monkeypatch):
    """Return a function that lets a worker process a delivery, and returns the message of the worker."""
    CALLS.clear()

    def work(package, attempt, **settings):
        settings = ClusterSettings(name="worker", **settings)
        wiring = SimpleNamespace(
            settings=settings,
            tallies=None,
            cluster_id="0" * 32,
            tasks=Channel(),
            results=Channel(),
            state=ClusterState(1),
            marks=CommandMarks(),
        )
        worker = Worker(wiring, 0)
        worker.baseline  # noqa: B018 - kept before the first task
        signed = package if isinstance(package, bytes) else PackageCodec.of(settings).dumps(package).encode()
        worker._task(TaskMessage(1, 0.0, 7, signed, attempt).pack())
        return unpack(wiring.results.receive(block=False)), settings

    return work


def test_task_without_attempts_left_fails_without_unpickling(work):
    package = new_package(run, (Poison(),), group="g", task_id="0" * 32, name="poison")
    outcome, settings = work(package, 3, max_attempts=2)
    assert CALLS == []
    assert (outcome.id, outcome.name, outcome.group, outcome.func) == ("0" * 32, "poison", "g", f"{__name__}.run")
    assert (outcome.success, outcome.attempt, outcome.ack_id) == (False, 2, 7)
    assert outcome.error.startswith("no attempts left: attempt 2 of 2 ended without an outcome")
    assert acknowledges(outcome, settings=settings, broker=MemoryBroker(settings=settings))


@pytest.mark.django_db
@pytest.mark.parametrize(("attempt", "max_attempts"), [(1, 1), (2, 2), (1, 0), (99, 0)])
def test_task_with_remaining_attempts_is_executed(work, attempt, max_attempts):
    outcome, _settings = work(new_package(run, (1,)), attempt, max_attempts=max_attempts)
    assert (outcome.success, outcome.attempt) == (True, attempt)
    assert CALLS == ["run"]


def test_unreadable_package_without_attempts_is_a_dead_letter(work):
    unreadable, _settings = work(b"with a foreign signature", 3, max_attempts=2)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.ack_id == 7


def test_result_that_was_copied_to_the_queue_is_a_dead_letter(work):
    finished = {**new_package(run, (1,)), "result": "done", "success": True, "stopped": timezone.now()}
    unreadable, _settings = work(finished, 1)
    assert isinstance(unreadable, Unreadable)
    assert "A finished task" in unreadable.reason
    assert CALLS == []


@pytest.mark.parametrize("signer", [ResultCodec, StatCodec])
def test_value_that_is_not_signed_as_a_package_is_a_dead_letter(work, signer):
    text = signer.of(ClusterSettings(name="worker")).dumps(new_package(run, (1,)))
    unreadable, _settings = work(text.encode(), 1)
    assert isinstance(unreadable, Unreadable)
    assert "foreign signature" in unreadable.reason
    assert CALLS == []


@pytest.mark.parametrize("value", [Stat(cluster_id="0" * 32), [1, 2], {"id": "0" * 32}])
def test_signed_object_that_is_no_task_is_a_dead_letter(work, value):
    unreadable, _settings = work(value, 1)
    assert isinstance(unreadable, Unreadable)
    assert "without a task" in unreadable.reason


@pytest.mark.django_db
def test_failure_without_remaining_attempts_keeps_arguments(work):
    outcome, settings = work(new_package(run, (1, 2), {"x": 3}), 2, max_attempts=1)
    Finisher(settings, None).finish([outcome])
    task = Task.objects.get()
    assert (task.success, task.attempt_count, task.args, task.kwargs) == (False, 1, (1, 2), {"x": 3})


@pytest.mark.django_db
def test_success_that_was_saved_survives_the_lack_of_attempts(work):
    package = new_package(run, (1,))
    for attempt in (1, 2):
        outcome, settings = work(package, attempt, max_attempts=1)
        Finisher(settings, None).finish([outcome])
    task = Task.objects.get()
    assert (task.success, task.result, task.attempt_count) == (True, "done", 1)


@pytest.mark.parametrize("raises", [False, True])
def test_fork_of_the_worker_ends_with_its_task(work, raises):
    outcome, _settings = work(new_package(fork, (raises,)), 1)
    [child] = CALLS
    assert os.waitpid(child, 0) == (child, 0)
    assert outcome.success is not raises


@pytest.mark.parametrize(
    "package",
    [
        pytest.param(new_package(run, (Moving(),)), id="executed"),
        pytest.param(new_package(run, (Moving(ValueError()),)), id="cannot be unpickled"),
        pytest.param({"func": "no.name", "args": (Moving(),)}, id="no task"),
    ],
)
def test_what_an_argument_changes_is_restored(work, package, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    work(package, 1)
    assert Path.cwd() == tmp_path


def test_what_an_argument_changes_is_restored_if_its_task_is_released(work, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(look_ups, "saved_success", lambda *of: move(look_ups.CannotLookUp()))
    returned, _settings = work(new_package(run, (Moving(),)), 2)
    assert isinstance(returned, Returned)
    assert Path.cwd() == tmp_path


def test_argument_that_forks_does_not_run_its_task_twice(work, tmp_path):
    (tmp_path / "notes").touch()
    outcome, _settings = work(new_package(note, (tmp_path / "notes", Forking())), 1)
    os.waitpid(decode(outcome.result), 0)
    assert (tmp_path / "notes").read_text() == "run "


def test_task_is_released_if_its_look_up_does_not_return(work, monkeypatch, postgres_server, django_db_blocker):
    postgres_server.start()
    monkeypatch.setattr(look_ups, "MAX_LOOK_UP_SECONDS", 0.3)
    with django_db_blocker.unblock(), reachable("silent", postgres_server.database()) as alias:
        monkeypatch.setattr(look_ups, "saved_success", lambda *of: ask(connections[alias], "SELECT pg_sleep(60)"))
        returned, _settings = work(new_package(run, (1,)), 2)
        assert connections[alias].connection is None
    assert returned == Returned(7)
    assert CALLS == []


def test_look_up_is_repeated_with_another_connection(work, monkeypatch, postgres_server, django_db_blocker):
    postgres_server.start()
    sessions = []

    def look_up(*of):
        sessions.append(ask(connections["fickle"], "SELECT pg_backend_pid()"))
        if len(sessions) == 1:
            raise OperationalError("read-only")

    monkeypatch.setattr(look_ups, "saved_success", look_up)
    database = postgres_server.database() | {"CONN_MAX_AGE": None}
    with django_db_blocker.unblock(), reachable("fickle", database):
        outcome, _settings = work(new_package(run, (1,)), 2)
    assert outcome.success
    assert len(set(sessions)) == 2
