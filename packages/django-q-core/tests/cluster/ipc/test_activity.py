"""Activity in shared memory survives the process that counts."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
from django_q.cluster.ipc.activity import Numbers
from django_q.cluster.ipc.state import ClusterState


def _count_and_die(state: ClusterState) -> None:
    state.activity.add(Numbers(2, 1, 1, 1.5))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_numbers_of_a_killed_monitor_are_kept(method: str) -> None:
    state = ClusterState(1)
    for _ in range(2):
        process = multiprocessing.get_context(method).Process(target=_count_and_die, args=(state,))
        process.start()
        process.join()
    assert state.activity.numbers == Numbers(4, 2, 2, 3.0)
    assert state.written_activity.numbers == Numbers()


def test_numbers_share_no_memory_with_others() -> None:
    state = ClusterState(2)
    state.activity.add(Numbers(1, 2, 3, 4.5))
    state.written_activity.add(Numbers(5, 6, 7, 8.5))
    for number, slot in enumerate(state.slots):
        slot.begin(b"x", 9.5, number=number + 1)
    for heartbeat in state.heartbeats.values():
        heartbeat.beat()
    state.stop_by = 1.0
    assert state.activity.numbers == Numbers(1, 2, 3, 4.5)
    assert state.written_activity.numbers == Numbers(5, 6, 7, 8.5)
    assert [slot.taken for slot in state.slots] == [1, 2]
