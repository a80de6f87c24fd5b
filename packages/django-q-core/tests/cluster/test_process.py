"""Base class of processes: errors are logged and reported, and progress is recorded."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest
from django.db import connection, reset_queries
from django_q.cluster import Cluster
from django_q.cluster import process as module
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.lease_keeper import LeaseKeeper
from django_q.cluster.leases import RenewalInterval
from django_q.cluster.process import ClusterProcess
from django_q.cluster.processes.worker import Worker
from django_q.exceptions import ClusterDied
from django_q.settings import ClusterSettings, current_settings
from django_q.testing import eventually


@pytest.fixture
def wiring():
    lifeline = SimpleNamespace(check=lambda: None)
    return SimpleNamespace(
        settings=current_settings(),
        cluster_id="0" * 32,
        state=ClusterState(1),
        lifeline=lifeline,
        listener=None,
        tallies=None,
    )


@pytest.mark.parametrize("error", [ValueError("bug"), SystemExit(0), SystemExit(), KeyboardInterrupt(), MemoryError()])
def test_error_that_ends_a_process_is_logged_and_reported(wiring, monkeypatch, caplog, error):
    def serve(*arguments: object) -> None:
        raise error

    reported: list[BaseException] = []
    monkeypatch.setattr(module, "_serve", serve)
    monkeypatch.setattr(module.reporters, "report_in_time", lambda error, settings: reported.append(error))
    with pytest.raises(SystemExit) as ended:
        module.main("module:Class", wiring)
    assert ended.value.code == 1
    assert reported == [error]
    assert f"MainProcess crashed: {type(error).__name__}" in caplog.text
    assert "in serve" in caplog.text


class Steps(ClusterProcess):
    """Process of three steps that records its heartbeats."""

    role = "pusher"

    def __init__(self, wiring) -> None:
        super().__init__(wiring)
        self.beats: list[float] = []

    def start(self) -> None:
        assert self.heartbeat.last == 0.0, "a process that starts does not beat"

    def step(self) -> bool:
        self.beats.append(self.heartbeat.last)
        return len(self.beats) < 3


def test_process_records_progress_once_per_step(wiring, monkeypatch):
    ticks = iter(range(1, 100))
    monkeypatch.setattr("django_q.cluster.ipc.state.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    process = Steps(wiring)
    process.run()
    assert process.beats == [1.0, 2.0, 3.0]


def test_worker_that_waits_for_room_records_progress(wiring, monkeypatch):
    beats: list[float] = []

    class FullChannel:
        def send(self, message: bytes, *, wait: float) -> bool:
            beats.append(wiring.state.slots[0].heartbeat.last)
            return len(beats) == 3

    wiring.tasks, wiring.results = None, FullChannel()
    ticks = iter(range(1, 100))
    monkeypatch.setattr("django_q.cluster.ipc.state.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    Worker(wiring, 0)._send(b"message")
    assert beats == [0.0, 1.0, 2.0]


def test_sentinel_that_cannot_be_forked_raises_cluster_died(monkeypatch):
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    cluster = Cluster(settings=ClusterSettings(name="forks", workers=1, start_method="fork"))
    with pytest.raises(ClusterDied, match="Resource temporarily unavailable"):
        cluster.start()


def test_each_process_has_its_own_heartbeat():
    state = ClusterState(3)
    heartbeats = [*state.heartbeats.values(), *(slot.heartbeat for slot in state.slots)]
    for number, heartbeat in enumerate(heartbeats, 1):
        heartbeat._floats[heartbeat._index] = float(number)
    assert [heartbeat.last for heartbeat in heartbeats] == [float(number) for number in range(1, 9)]
    state.paused, state.hooks, state.backlog, state.stop_by, state.born = 1, 2, 3, 4.5, 5.5
    state.slots[0].begin(b"x", 0.5, 7)
    assert [heartbeat.last for heartbeat in heartbeats] == [float(number) for number in range(1, 9)]
    assert (state.paused, state.hooks, state.backlog, state.stop_by, state.born) == (1, 2, 3, 4.5, 5.5)


class Asking(Steps):
    """Process that queries the database in each step."""

    def step(self) -> bool:
        assert not connection.queries
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert connection.queries
        return super().step()


@pytest.mark.django_db
def test_process_keeps_no_queries_of_its_last_step_with_debug(wiring, settings):
    settings.DEBUG = True
    reset_queries()
    Asking(wiring).run()


def test_thread_of_the_monitor_keeps_no_queries_with_debug(settings, django_db_blocker):
    settings.DEBUG = True
    seen: list[int] = []

    def collect() -> None:
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            seen.append(len(connection.queries))
            cursor.execute("SELECT 1")

    keeper = LeaseKeeper("test", lambda: None, RenewalInterval(0.06), collect)
    keeper.start()
    eventually(lambda: len(seen) >= 3)
    keeper.stop()
    keeper.join()
    assert {*seen[1:]} == {0}  # MariaDB has queries when the first cursor connects
