"""Liveness reads shared memory: it needs no process and no server."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django_q.cluster import guard
from django_q.cluster.ipc.state import ClusterState, WorkerState
from django_q.cluster.probes import liveness as module
from django_q.cluster.probes.liveness import ROLES, Liveness


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(seconds=1000.0)
    for each in (module, guard):
        monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


class Cluster:
    """Shared memory whose processes make progress."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock, self.state = clock, ClusterState(2)
        self.liveness = Liveness(self.state, 10.0)

    def run(self, seconds: int, *silent: str) -> list[str]:
        """Let all processes but some make progress; return the reasons at the end."""
        for _ in range(seconds):
            self.clock.seconds += 1
            for role in {*ROLES} - {*silent}:
                self.set(self.state.heartbeats[role])
            for slot in self.state.slots:
                if f"worker {slot.index}" not in silent:
                    self.set(slot.heartbeat)
            self.liveness.look()
        return self.liveness.reasons()

    def set(self, heartbeat) -> None:
        """Record progress at the time of the clock."""
        heartbeat._floats[heartbeat._index] = self.clock.seconds


@pytest.fixture
def cluster(clock):
    return Cluster(clock)


def test_cluster_with_progress_lives(cluster):
    assert cluster.run(100) == []


@pytest.mark.parametrize("role", ROLES)
def test_process_without_progress_is_named(cluster, role):
    cluster.run(5)
    assert cluster.run(9, role) == []
    assert cluster.run(3, role) == [f"The {role} made no progress for 12 seconds."]
    assert cluster.run(1) == []


def test_starting_process_has_a_minute(cluster):
    assert cluster.run(59, "pusher") == []
    assert len(cluster.run(3, "pusher")) == 1


def test_one_worker_is_enough(cluster):
    cluster.run(5)
    assert cluster.run(20, "worker 0") == []
    assert cluster.run(20, "worker 0", "worker 1") == ["The workers made no progress for 20 seconds."]


def test_running_task_is_progress(cluster):
    cluster.run(5)
    for slot in cluster.state.slots:
        slot.pid, slot.state = 1, WorkerState.BUSY
    assert cluster.run(100, "worker 0", "worker 1") == []


def test_pause_of_the_machine_is_no_stall(cluster):
    cluster.run(5)
    cluster.clock.seconds += 1000
    assert cluster.liveness.reasons() == []
