"""The sentinel handles processes that die, hang or do not start. No process is started here."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import replace

import pytest
from django_q.cluster import pool as pool_module
from django_q.cluster import sentinel as module
from django_q.cluster import stopping
from django_q.cluster.ipc.channels import RECEIVE_SECONDS, Wakeup
from django_q.cluster.ipc.messages import STOP, Kind, TaskMessage, kind_of, unpack
from django_q.cluster.ipc.state import ClusterState, Phase, WorkerState
from django_q.cluster.sentinel import Sentinel
from django_q.cluster.stopping import StopProcedure
from django_q.settings import current_settings
from django_q.testing.eventually import eventually


class Process:
    """Process that runs until it is stopped."""

    pids = itertools.count(2**30)

    def __init__(self, name: str, **options) -> None:
        self.name, self.exitcode, self.pid = name, 0, next(Process.pids)
        self.reader, self.writer = os.pipe()
        self.sentinel = self.reader
        self.runs = self.deaf = False

    def start(self) -> None:
        self.runs = True

    def is_alive(self) -> bool:
        return self.runs

    def end(self, exitcode: int = 0) -> None:
        self.runs, self.exitcode = False, exitcode
        if self.writer is not None:
            os.close(self.writer)
            self.writer = None

    def kill(self) -> None:
        if not self.deaf:
            self.end(-9)

    def join(self) -> None:
        assert not self.runs

    def close(self) -> None:
        os.close(self.reader)


class Context:
    Process = Process


@pytest.fixture
def sentinel(monkeypatch):
    settings = replace(current_settings(), workers=2, guard_cycle=0.02, stop_timeout=0.6, guard_timeout=60.0)
    monkeypatch.setattr(module, "context_of", lambda method: Context)
    monkeypatch.setattr(pool_module, "kill_group", lambda pid: None)
    monkeypatch.setattr(pool_module, "try_fork", lambda: None)
    parent, control = Wakeup(), Wakeup()
    sentinel = Sentinel(settings, "0" * 32, ClusterState(2), control, Wakeup(), parent)
    sentinel.pool.spawn()
    sentinel.state.phase = Phase.RUNNING
    yield sentinel
    for member in sentinel.pool.members:
        if member.process is not None:
            member.process.end()


def ends_when(member, condition) -> None:
    """Let a process end in the first iteration in which *condition* is true."""
    runs = member.process.is_alive

    def is_alive() -> bool:
        if runs() and condition():
            member.process.end()
        return runs()

    member.process.is_alive = is_alive


def obedient(sentinel) -> None:
    """Let all processes end on request."""
    state, wiring, pool = sentinel.state, sentinel.wiring, sentinel.pool

    def told(channel) -> bool:
        message = channel.receive(block=False) if channel.wait(0) else None
        return message is not None and kind_of(message) == Kind.STOP

    ends_when(pool.pusher, lambda: state.phase >= Phase.STOPPING)
    ends_when(pool.scheduler, lambda: state.phase >= Phase.STOPPING)
    ends_when(pool.monitor, lambda: pool.monitor.heartbeat.beat() or told(wiring.results))
    for worker in pool.workers:
        ends_when(worker, lambda: told(wiring.tasks))


class TestFlags:
    def test_flags_of_a_dead_monitor_are_cleared(self, sentinel):
        state = sentinel.state
        state.paused, state.hooks, state.backlog, state.postponed, state.wake_at = 1, 3, 500, 400, 7
        sentinel.pool.monitor.process.end(-9)
        sentinel.step(sentinel.pool.members)
        assert (state.paused, state.hooks, state.backlog, state.postponed) == (0, 0, 0, 0)
        assert state.wake_at == 7, "it is the pusher's"
        eventually(lambda: sentinel.step(sentinel.pool.members) or sentinel.pool.monitor.process)
        assert state.reincarnations == 1

    def test_mark_of_a_dead_pusher_is_cleared(self, sentinel):
        sentinel.state.wake_at, sentinel.state.paused = 7, 1
        sentinel.pool.pusher.process.end(-9)
        sentinel.step(sentinel.pool.members)
        assert (sentinel.state.wake_at, sentinel.state.paused) == (0, 1)


def test_process_without_progress_is_replaced_and_logged(sentinel, caplog):
    monitor = sentinel.pool.monitor
    hung = monitor.process
    monitor.heartbeat._floats[monitor.heartbeat._index] = monitor.born = time.monotonic() - 61
    for _ in range(2):
        sentinel.step(sentinel.pool.members)
    assert not hung.runs
    assert monitor.process.runs
    assert "the monitor made no progress for 61 seconds, killed" in caplog.text
    assert "reincarnated monitor" in caplog.text


def test_worker_that_does_not_exit_is_killed_and_replaced(sentinel, caplog):
    worker = sentinel.pool.workers[0]
    stuck = worker.process
    worker.slot.state = WorkerState.RECYCLED
    worker.slot.exit_by(time.monotonic() - 1)
    for _ in range(2):
        sentinel.step(sentinel.pool.members)
    assert not stuck.runs
    assert worker.process.runs
    assert "did not exit in time" in caplog.text


@pytest.mark.parametrize("hangs", [True, False])
def test_worker_whose_look_up_hangs_is_killed(sentinel, hangs):
    """A driver written in C may never return to Python. A worker that ends by itself counts as a failed attempt."""
    member = sentinel.pool.workers[0]
    slot = member.slot
    slot.begin(TaskMessage(1, 0.0, "ack", b"package").pack(), time.monotonic(), 1)
    slot.begin_look_up()
    if hangs:
        slot.deadline = time.monotonic() - 1.0
    else:
        member.process.end(-11)
    sentinel.step(sentinel.pool.members)
    sentinel.step(sentinel.pool.members)
    death = unpack(sentinel.wiring.results.receive(block=False))
    assert death.looking_up is hangs


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPING])
def test_idle_worker_that_is_killed_had_no_task(sentinel, phase, caplog):
    """The worker has a task in its buffer, which has ended."""
    member = sentinel.pool.workers[0]
    member.slot.begin(TaskMessage(1, 0.0, "ack", b"package").pack(), time.monotonic(), 1)
    member.slot.state = WorkerState.IDLE
    sentinel.state.phase = phase
    member.process.end(-9)
    sentinel.step(sentinel.pool.members)
    assert not sentinel.deaths
    assert not sentinel.wiring.results.wait(0)
    assert "which ran the task" not in caplog.text


class TestStop:
    def test_stop_ends_all_processes(self, sentinel):
        obedient(sentinel)
        sentinel.stop()
        assert all(member.process is None for member in sentinel.pool.members)
        assert sentinel.state.phase == Phase.STOPPED

    def test_workers_stay_while_a_follow_up_is_in_progress(self, sentinel):
        obedient(sentinel)
        state, phases = sentinel.state, []
        state.backlog, turns = 1, itertools.count()
        step = sentinel.step

        def progress(*arguments) -> None:
            number = next(turns)
            state.backlog, state.hooks = number < 5, 5 <= number < 10
            phases.append((int(state.phase), number))
            step(*arguments)

        sentinel.step = progress
        sentinel.stop()
        first = next(number for phase, number in phases if phase == Phase.ENDING)
        assert first > 10
        assert "INTERRUPTED" not in {member.killed_for for member in sentinel.pool.members}

    def test_workers_stay_until_the_flags_of_the_monitor_are_current(self, sentinel):
        """The flags may not contain an outcome yet that the monitor has just received."""
        obedient(sentinel)
        stop, heartbeat = StopProcedure(sentinel), sentinel.pool.monitor.heartbeat
        heartbeat.beat()
        assert not stop._has_work()
        sentinel.state.received += 1
        assert stop._has_work()
        assert stop._has_work()
        heartbeat.beat()
        assert not stop._has_work()

    def test_recycled_worker_is_replaced_while_a_follow_up_needs_one(self, sentinel):
        obedient(sentinel)
        sentinel.state.hooks = 1
        first = [worker.process for worker in sentinel.pool.workers]
        for process in first:
            process.end()
        step = sentinel.step

        def progress(*arguments) -> None:
            step(*arguments)
            again = [worker.process for worker in sentinel.pool.workers]
            if sentinel.state.hooks and None not in again and again[0] is not first[0]:
                sentinel.state.hooks = 0
                for worker in sentinel.pool.workers:
                    ends_when(worker, lambda: sentinel.state.phase == Phase.ENDING)

        sentinel.step = progress
        began = time.monotonic()
        sentinel.stop()
        assert sentinel.state.hooks == 0
        assert time.monotonic() - began < sentinel.settings.stop_timeout

    @pytest.mark.parametrize("hangs", ["pusher", "monitor", "scheduler", "workers"])
    def test_stop_is_bounded_when_a_process_hangs(self, sentinel, monkeypatch, hangs):
        monkeypatch.setattr(stopping, "HUNG_SECONDS", 0.3)
        monkeypatch.setattr(stopping, "MONITOR_SECONDS", 0.3)
        monkeypatch.setattr(stopping, "WORKER_SECONDS", 0.3)
        obedient(sentinel)
        found = getattr(sentinel.pool, hangs)
        for member in found if hangs == "workers" else [found]:
            del member.process.is_alive
        self.ends_within(sentinel, 3)

    def test_stop_is_bounded_when_the_channels_are_full(self, sentinel, monkeypatch):
        monkeypatch.setattr(stopping, "HUNG_SECONDS", 0.3)
        monkeypatch.setattr(stopping, "MONITOR_SECONDS", 0.3)
        monkeypatch.setattr(stopping, "WORKER_SECONDS", 0.3)
        for channel in (sentinel.wiring.tasks, sentinel.wiring.results):
            while channel.send(b"\0" * 1000):
                pass
        self.ends_within(sentinel, 3)

    def test_stop_ends_if_a_process_cannot_be_killed(self, sentinel, monkeypatch):
        monkeypatch.setattr(stopping, "MONITOR_SECONDS", 0.3)
        monkeypatch.setattr(stopping, "KILL_SECONDS", 0.3)
        obedient(sentinel)
        del sentinel.pool.monitor.process.is_alive
        sentinel.pool.monitor.process.deaf = True
        began = time.monotonic()
        sentinel.stop()
        assert time.monotonic() - began < 4
        assert sentinel.pool.monitor.process is not None

    def test_second_signal_ends_all_within_two_seconds(self, sentinel):
        sentinel.settings = replace(sentinel.settings, stop_timeout=3600)
        for slot in sentinel.state.slots:
            slot.begin(b"\1" * 40, time.monotonic(), 1)
        sentinel.state.stop_requests = 2
        self.ends_within(sentinel, 2)

    def test_orphaned_cluster_ends_at_once(self, sentinel):
        sentinel.settings = replace(sentinel.settings, stop_timeout=3600)
        sentinel.orphaned = True
        self.ends_within(sentinel, 2)

    def test_full_channel_delays_the_stop_of_workers(self, sentinel):
        obedient(sentinel)
        sentinel.settings = replace(sentinel.settings, stop_timeout=60)
        while sentinel.wiring.tasks.send(b"\1" * 16_000):
            pass
        StopProcedure(sentinel)._stop_workers()
        assert all(worker.process is None for worker in sentinel.pool.workers)
        assert all(worker.killed_for is None for worker in sentinel.pool.workers)

    def ends_within(self, sentinel, seconds: float) -> None:
        began = time.monotonic()
        sentinel.stop()
        assert time.monotonic() - began < seconds
        assert all(member.process is None for member in sentinel.pool.members)


def test_steps_are_shorter_than_the_minimum_guard_timeout():
    assert RECEIVE_SECONDS <= 1
    assert kind_of(STOP) == Kind.STOP


class TestCrash:
    @pytest.fixture
    def crash(self, sentinel, monkeypatch):
        """Return a function that crashes the sentinel, and returns the exit status and the reports."""

        def make(error: BaseException):
            reported: list[BaseException] = []
            monkeypatch.setattr(module, "Sentinel", lambda *arguments: sentinel)
            monkeypatch.setattr(module, "prepare", lambda *arguments: None)
            monkeypatch.setattr(module.reporters, "report_in_time", lambda error, _, last: reported.append(error))
            monkeypatch.setattr(module, "exit_at_once", exit_at_once)
            monkeypatch.setattr(sentinel, "run", raises(error))
            lifeline = type("Line", (), {"watch": lambda self: None})()
            with pytest.raises(Left) as left:
                module.main(sentinel.settings, "", sentinel.state, Wakeup(), Wakeup(), lifeline)
            return left.value.status, reported

        return make

    @pytest.mark.parametrize("error", [ValueError("bug"), SystemExit(0), KeyboardInterrupt()])
    def test_crash_ends_all_processes_with_a_nonzero_status(self, sentinel, crash, caplog, error):
        assert crash(error) == (1, [error])
        assert not any(member.process.runs for member in sentinel.pool.members)
        assert "MainProcess crashed: " + type(error).__name__ in caplog.text
        assert "Traceback" in caplog.text


class Left(BaseException):
    def __init__(self, status: int) -> None:
        self.status = status


def exit_at_once(status: int):
    raise Left(status)


def raises(error: BaseException):
    def run() -> None:
        raise error

    return run
