"""The shared memory of a cluster survives the death of any process."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
from django_q.cluster.ipc.messages import FollowUp, Kind, TaskMessage, kind_of, pack, unpack
from django_q.cluster.ipc.state import IDLE_BUFFER_BYTES, ClusterState, WorkerState
from django_q.cluster.pool import exit_text
from django_q.pacing import MAX_BACKOFF_SECONDS, Backoff


def _work(state: ClusterState, message: bytes) -> None:
    state.slots[1].begin(message, 12.5, number=7)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("size", [10, 500_000])
def test_message_in_flight_of_a_dead_worker_can_be_read(method, size):
    state, message = ClusterState(2), os.urandom(size)
    process = multiprocessing.get_context(method).Process(target=_work, args=(state, message))
    process.start()
    process.join()
    slot = state.slots[1]
    assert slot.state == WorkerState.BUSY
    assert slot.message() == message
    assert (slot.taken, slot.since) == (7, 12.5)
    assert state.slots[0].state == WorkerState.ABSENT


def test_slot_keeps_the_last_message_and_little_memory():
    state = ClusterState(1)
    slot = state.slots[0]
    for size in (3 * IDLE_BUFFER_BYTES, 10, IDLE_BUFFER_BYTES // 2, 0):
        message = os.urandom(size)
        slot.begin(message, 0.0, number=1)
        slot.trim_buffer()
        assert os.fstat(slot._in_flight).st_blocks * 512 <= IDLE_BUFFER_BYTES
        if size < IDLE_BUFFER_BYTES:
            assert slot.message() == message


def test_waiting_tasks_are_pushed_and_not_taken():
    state = ClusterState(2)
    state.pushed = 5
    state.slots[0].begin(b"x", 0.0, number=2)
    state.slots[1].begin(b"x", 0.0, number=3)
    assert (state.taken, state.waiting) == (3, 2)
    assert not state.idle
    state.slots[0].finish(sent=True)
    assert state.unsaved == 1
    state.received += 1
    assert state.unsaved == 0


def test_task_message_survives_packing():
    task = TaskMessage(3, 1.5, ("id", 7), b"package", attempt=4)
    assert kind_of(task.pack()) == Kind.TASK
    assert TaskMessage.unpack(task.pack()) == task
    assert unpack(pack(Kind.FOLLOW_UP, FollowUp("k", "text"))) == FollowUp("k", "text")


def test_back_off_grows_to_a_maximum_and_ends_with_a_success():
    backoff = Backoff()
    assert backoff.seconds == 0.0
    assert backoff.failed()
    assert 0 < backoff.seconds <= 0.1
    assert not any(backoff.failed() for _ in range(50))
    assert MAX_BACKOFF_SECONDS / 2 <= backoff.seconds <= MAX_BACKOFF_SECONDS
    assert backoff.succeeded()
    assert not backoff.succeeded()


@pytest.mark.parametrize(("code", "says"), [(3, "exit status 3"), (-9, "SIGKILL"), (-11, "SIGSEGV"), (-99, "99")])
def test_exit_code_is_described(code, says):
    assert says in exit_text(code)
