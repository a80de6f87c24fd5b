"""The guard finds processes without progress, except those that start or were suspended with the cluster."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from django_q.cluster import guard as module
from django_q.cluster.guard import SECOND_SIGNAL_SECONDS, STARTING_SECONDS, STOP_MARGIN_SECONDS, Guard, SentinelGuard
from django_q.cluster.ipc.state import ClusterState, WorkerState
from django_q.settings import current_settings

SECONDS = 100.0


@pytest.fixture
def clock(monkeypatch):
    """Simulated clock: tests set `clock.now`, and `beat` writes a heartbeat."""
    clock = SimpleNamespace(now=10_000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr("django_q.cluster.ipc.state.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def settings():
    return replace(current_settings(), guard_timeout=SECONDS, guard_cycle=0.5, stop_timeout=25.0)


@pytest.fixture
def state():
    return ClusterState(1)


@pytest.fixture
def guard(clock, settings, state):
    return Guard(settings, state)


@pytest.fixture
def pusher(clock, state):
    return SimpleNamespace(process=object(), slot=None, heartbeat=state.heartbeats["pusher"], born=clock.now)


@pytest.fixture
def worker(clock, state):
    slot = state.slots[0]
    return SimpleNamespace(process=object(), slot=slot, heartbeat=slot.heartbeat, born=clock.now)


def passes(clock, guard, seconds: float) -> None:
    """Advance the clock while the sentinel works."""
    while seconds > 0:
        clock.now += min(seconds, 0.5)
        seconds -= 0.5
        guard.look()


def test_process_without_progress_is_found(clock, guard, pusher):
    pusher.heartbeat.beat()
    passes(clock, guard, SECONDS - 1)
    assert not guard.is_stalled(pusher)
    passes(clock, guard, 2)
    assert guard.is_stalled(pusher)
    pusher.heartbeat.beat()
    assert not guard.is_stalled(pusher)


@pytest.mark.parametrize("seconds", [3.0, 100.0])
def test_process_that_starts_may_import_for_a_minute(clock, settings, state, pusher, seconds):
    guard = Guard(replace(settings, guard_timeout=seconds), state)
    passes(clock, guard, max(STARTING_SECONDS, seconds) - 1)
    assert not guard.is_stalled(pusher)
    passes(clock, guard, 2)
    assert guard.is_stalled(pusher)


@pytest.mark.parametrize(
    ("doing", "stalls"),
    [
        (WorkerState.BUSY, False),
        (WorkerState.IDLE, True),
        (WorkerState.SENDING, True),
        (WorkerState.ABSENT, True),
    ],
)
def test_running_task_is_exempt(clock, guard, worker, doing, stalls):
    worker.heartbeat.beat()
    worker.slot.state = doing
    passes(clock, guard, SECONDS + 1)
    assert guard.is_stalled(worker) is stalls


def test_process_that_has_ended_does_not_stall(clock, guard, pusher):
    pusher.process = None
    passes(clock, guard, SECONDS + 1)
    assert not guard.is_stalled(pusher)


def test_each_process_has_its_full_time_after_a_pause(clock, guard, pusher):
    pusher.heartbeat.beat()
    passes(clock, guard, SECONDS / 2)
    clock.now += 10 * SECONDS  # SIGSTOP
    guard.look()
    assert not guard.is_stalled(pusher)
    passes(clock, guard, SECONDS - 1)
    assert not guard.is_stalled(pusher)
    passes(clock, guard, 2)
    assert guard.is_stalled(pusher)


def test_worker_that_ends_its_task_during_a_check_is_not_overdue(clock, guard, worker):
    """The worker removes the deadline between the two reads of the guard."""

    class Ending:
        state = WorkerState.BUSY
        deadlines = iter([clock.now + 50])

        @property
        def deadline(self) -> float:
            return next(self.deadlines, 0.0)

    worker.slot = Ending()
    assert not guard.is_overdue(worker)


@pytest.mark.parametrize("doing", [WorkerState.BUSY, WorkerState.RECYCLED, WorkerState.EXITING])
def test_worker_past_its_deadline_is_overdue(clock, guard, worker, doing):
    worker.slot.state = doing
    worker.slot.deadline = clock.now + 5
    assert not guard.is_overdue(worker)
    passes(clock, guard, 6)
    assert guard.is_overdue(worker)


def test_task_may_notice_its_timeout_after_a_pause(clock, guard, worker):
    worker.slot.state = WorkerState.BUSY
    worker.slot.deadline = clock.now + 5
    clock.now += 10 * SECONDS
    guard.look()
    assert not guard.is_overdue(worker)
    passes(clock, guard, module.RESUMED_GRACE_SECONDS + 0.5)
    assert guard.is_overdue(worker)


class TestSentinelGuard:
    @pytest.fixture
    def guard(self, clock, settings, state):
        return SentinelGuard(settings, state)

    def passes(self, clock, guard, seconds: float, beats: bool = True) -> str | None:
        """Advance the clock, and return the reason to kill the sentinel."""
        while seconds > 0:
            step = min(seconds, guard.seconds_to_wait())
            clock.now += step
            seconds -= step
            if beats:
                guard.state.heartbeats["sentinel"].beat()
            if reason := guard.look():
                return reason
        return None

    def test_sentinel_with_progress_is_not_killed(self, clock, guard):
        assert self.passes(clock, guard, 20 * SECONDS) is None

    def test_sentinel_without_progress_ends_the_cluster(self, clock, guard):
        assert self.passes(clock, guard, 1) is None
        assert self.passes(clock, guard, SECONDS - 1, beats=False) is None
        assert "no progress" in self.passes(clock, guard, 6, beats=False)

    def test_sentinel_that_does_not_start_ends_the_cluster(self, clock, guard):
        assert self.passes(clock, guard, SECONDS - 1, beats=False) is None
        assert "no progress" in self.passes(clock, guard, 6, beats=False)

    def test_sentinel_has_its_full_time_after_a_pause(self, clock, guard):
        self.passes(clock, guard, 1)
        clock.now += 10 * SECONDS
        assert guard.look() is None
        assert self.passes(clock, guard, SECONDS - 6, beats=False) is None

    def test_stop_is_bounded_if_the_sentinel_makes_progress(self, clock, guard, settings):
        guard.state.stop_requests = 1
        guard.look()
        assert self.passes(clock, guard, settings.stop_timeout + STOP_MARGIN_SECONDS - 1) is None
        assert "stop_timeout" in self.passes(clock, guard, 2)

    def test_second_signal_ends_the_cluster_within_two_seconds(self, clock, guard):
        guard.state.stop_requests = 2
        guard.look()
        assert self.passes(clock, guard, SECOND_SIGNAL_SECONDS - 0.1) is None
        assert "second signal" in self.passes(clock, guard, 0.2)
        assert SECOND_SIGNAL_SECONDS < 2
