"""A start that the system refuses is repeated later."""

from __future__ import annotations

import errno
import gc
import logging
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from django_q.cluster import pool as module
from django_q.cluster.ipc.state import ClusterState, WorkerState
from django_q.cluster.pool import PUSHER, WORKER, Member, Pool
from django_q.settings import current_settings

EAGAIN = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


class Process:
    """Process whose start may be refused."""

    failures = 0
    pid, name, exitcode = 0, "process", 0

    def __init__(self, **options) -> None:
        self.alive = False

    def start(self) -> None:
        if Process.failures:
            Process.failures -= 1
            raise EAGAIN
        self.alive = True

    def is_alive(self) -> bool:
        return self.alive

    def kill(self) -> None:
        self.alive = False

    def join(self) -> None:
        assert not self.alive

    def close(self) -> None:
        pass


@pytest.fixture
def wiring():
    return SimpleNamespace(settings=current_settings(), state=ClusterState(2), lifeline=None, listener=None)


@pytest.fixture
def context(monkeypatch):
    monkeypatch.setattr(Process, "failures", 0)
    monkeypatch.setattr(module, "try_fork", lambda: None)
    return SimpleNamespace(Process=Process)


def test_refused_start_is_logged_and_repeated_later(context, wiring, monkeypatch, caplog):
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    member, Process.failures = Member(PUSHER, context, wiring), 3
    pauses = []
    while not member.spawn():
        assert member.process is None
        pauses.append(member.due - now)
        now = member.due
    assert len(pauses) == 3
    assert 0 < pauses[0] <= 0.1 < pauses[2] <= 0.4
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert "cannot start a pusher ([Errno 11] Resource temporarily unavailable)" in caplog.text


def test_cluster_is_complete_with_one_process_of_each_kind(context, wiring):
    pool, Process.failures = Pool(wiring, context), 1
    pool.spawn()
    assert [member.process is None for member in pool.members] == [True, False, False, False, False]
    assert pool.is_complete
    pool.monitor.process = None
    assert not pool.is_complete


def test_other_errors_of_a_start_are_not_repeated(context, wiring, monkeypatch):
    def refuse(self) -> None:
        raise TypeError("cannot pickle")

    monkeypatch.setattr(Process, "start", refuse)
    with pytest.raises(TypeError):
        Member(PUSHER, context, wiring).spawn()


def open_files() -> int:
    """Return the number of open file descriptors."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_forks_that_fail_for_hours_leave_no_files_open(wiring, monkeypatch):
    def refuse() -> int:
        raise EAGAIN

    monkeypatch.setattr(os, "fork", refuse)
    wiring.settings = replace(wiring.settings, start_method="fork")
    member = Member(PUSHER, multiprocessing.get_context("fork"), wiring)
    assert not member.spawn()
    gc.collect()  # closes what other tests left behind
    before = open_files()
    for _ in range(20):
        assert not member.spawn()
    assert open_files() <= before


@pytest.mark.parametrize(
    ("state", "killed_for", "ends_the_group"),
    [
        (WorkerState.RECYCLED, None, False),
        (WorkerState.EXITING, None, False),
        (WorkerState.EXITING, "it did not exit", True),
        (WorkerState.BUSY, None, True),
        (WorkerState.IDLE, None, True),
    ],
)
def test_group_of_a_worker_is_killed_unless_it_exits_regularly(
    context, wiring, monkeypatch, state, killed_for, ends_the_group
):
    killed: list[int] = []
    monkeypatch.setattr(module, "kill_group", killed.append)
    monkeypatch.setattr(Process, "pid", 2**30)
    worker = Member(WORKER, context, wiring, wiring.state.slots[0])
    worker.spawn()
    worker.slot.state, worker.killed_for = state, killed_for
    worker.process.alive = False
    worker.reap()
    assert killed == [2**30] * ends_the_group
