"""Snapshots that need no process."""

from __future__ import annotations

from typing import Any

import pytest
from django_q.terminal.snapshot import ClusterRow, QueueRow, RunningRow, Snapshot, Totals

ID = "0198f0e2a1b37c5d8e9f00112233445{}"


def cluster(number: int = 1, **values: Any) -> ClusterRow:
    """Return a row of a cluster, on one of two hosts."""
    defaults: dict[str, Any] = {
        "cluster_id": f"cluster-{number}",
        "host": "Phoenix" if number % 2 == 0 else "Orion",
        "pid": 17_000 + number,
        "queue": "shop",
        "status": "Working",
        "workers": (1, 2, 3, 4),
        "sentinel": 5,
        "pusher": 6,
        "monitor": 7,
        "task_queue": 23,
        "result_queue": 0,
        "reincarnations": 0,
        "uptime": 75.4,
    }
    return ClusterRow(**defaults | values)


def running_task(number: int = 1, **values: Any) -> RunningRow:
    """Return a row of a running task."""
    defaults: dict[str, Any] = {
        "id": ID.format(number),
        "name": f"report-{number}",
        "func": "reports.tasks.send",
        "queue": "shop",
        "worker": "Orion/cluster-1/8",
        "attempt": 2,
        "seconds": 61,
    }
    return RunningRow(**defaults | values)


def snapshot(*clusters: ClusterRow, **values: Any) -> Snapshot:
    """Return a snapshot of a project with these clusters."""
    defaults: dict[str, Any] = {
        "name": "djq",
        "broker": "Redis 8.2",
        "queue_limit": 50,
        "clusters": clusters,
        "queues": (QueueRow(name="shop", waiting=3, in_flight=2, dead=1),),
        "running": (),
        "totals": Totals(successes=1000, failures=2, schedules=4, recent=177, average=0.1612),
        "problems": (),
    }
    return Snapshot(**defaults | values)


@pytest.fixture(name="cluster")
def cluster_maker():
    """Return the function `cluster`."""
    return cluster


@pytest.fixture(name="running_task")
def running_task_maker():
    """Return the function `running_task`."""
    return running_task


@pytest.fixture(name="snapshot")
def snapshot_maker():
    """Return the function `snapshot`."""
    return snapshot
