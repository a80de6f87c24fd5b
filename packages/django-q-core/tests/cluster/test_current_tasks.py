"""Tasks that a cluster publishes because its workers execute them now."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.cluster.current_tasks import MAX_PACKAGE_BYTES, CurrentTasks
from django_q.cluster.ipc.messages import FollowUp, Kind, TaskMessage, pack
from django_q.cluster.ipc.state import ClusterState
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package


@pytest.fixture
def state() -> ClusterState:
    """Shared memory of a cluster with two workers."""
    state = ClusterState(2)
    for slot, pid in zip(state.slots, (4001, 4002), strict=True):
        slot.pid = pid
    return state


@pytest.fixture
def current(state: ClusterState) -> CurrentTasks:
    return CurrentTasks(current_settings(), state)


def message(number: int = 1, *args: object, **values: object) -> bytes:
    """Return the message of a task."""
    package = new_package("shop.ship", args, task_id="a" * 32) | {"name": "<b>ship</b>", **values}
    signed = PackageCodec.of(current_settings()).dumps(package)
    return TaskMessage(number, 0.0, "1", signed.encode()).pack()


def begin(state: ClusterState, content: bytes, seconds: float = 61.0, number: int = 1) -> None:
    """Let the second worker begin a message some seconds ago."""
    state.slots[1].begin(content, time.monotonic() - seconds, number)


def test_running_task_is_published_with_its_start(state, current) -> None:
    begin(state, message(track=True))
    [task] = current.read()
    started = task.pop("started")
    assert task == {"worker": 4002, "id": "a" * 32, "name": "<b>ship</b>", "func": "shop.ship", "track": True}
    assert timezone.now() - started - timedelta(seconds=61) < timedelta(seconds=5)


def test_values_of_a_task_stay_the_same_while_it_runs(state, current) -> None:
    begin(state, message())
    first = current.read()
    assert first[0]["track"] is False
    assert current.read() == first


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_task_that_has_just_begun_is_not_published(state, current, seconds: float) -> None:
    begin(state, message(), seconds)
    assert current.read() == []


def test_next_task_replaces_the_one_before(state, current) -> None:
    begin(state, message())
    assert current.read()
    state.slots[1].finish(sent=True)
    assert current.read() == []
    begin(state, message(2, name="next"), 2.0, 2)
    assert [task["name"] for task in current.read()] == ["next"]


def test_hook_is_no_task(state, current) -> None:
    begin(state, pack(Kind.FOLLOW_UP, FollowUp("key", None)), number=0)
    assert current.read() == []


def test_task_that_ends_while_it_is_read_is_left_out(state, current, monkeypatch) -> None:
    begin(state, message())
    slot = state.slots[1]

    def replaced() -> bytes:
        slot.finish(sent=True)
        return b"\x01half of the next message"

    monkeypatch.setattr(slot, "message", replaced)
    assert current.read() == []


@pytest.mark.parametrize("content", [b"unsigned", b"x" * (MAX_PACKAGE_BYTES + 1)])
def test_unreadable_or_large_package_has_no_name(state, current, content: bytes) -> None:
    begin(state, TaskMessage(1, 0.0, "1", content).pack())
    [task] = current.read()
    assert (task["worker"], task["id"], task["name"], task["func"]) == (4002, "", "", "")
