"""Waiting times, batches and back-pressure of the monitor."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.processes import monitor as module
from django_q.cluster.processes.monitor import Monitor
from django_q.exceptions import BrokerUnavailable
from django_q.execution import Executor
from django_q.settings import current_settings
from django_q.wire.package import new_package


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(seconds=0.0)
    clock.naps = []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.seconds, sleep=clock.naps.append))
    return clock


@pytest.fixture
def resting(clock, monkeypatch):
    """Monitor without outcomes, and the list of its waiting times."""
    settings = current_settings()
    waits: list[float] = []
    results = Channel()
    monkeypatch.setattr(results, "wait", lambda seconds: waits.append(seconds))
    state = ClusterState(settings.workers)
    monitor = Monitor(SimpleNamespace(settings=settings, tasks=Channel(), results=results, state=state))
    return monitor, waits


@pytest.mark.parametrize(("waiting", "gathers"), [(1, True), (module.MAX_GATHER_OUTCOMES + 1, False)])
def test_outcomes_are_collected_until_enough_wait(resting, clock, waiting, gathers) -> None:
    monitor, _ = resting
    monitor.state.pushed = waiting + 1  # another task waits
    slot = monitor.state.slots[0]
    for _ in range(waiting):
        monitor.results.send(module.pack(module.Kind.UNREADABLE, module.Unreadable("1", b"x", "rubbish")))
        slot.finish(sent=True)
    monitor._receive()
    assert len(monitor.unreadable) == waiting
    assert bool(clock.naps) is gathers


def test_large_outcomes_are_saved_a_few_at_a_time(resting) -> None:
    monitor, _ = resting
    result = "x" * (module.MAX_BATCH_BYTES // 2)
    for number in range(3):
        outcome = Executor(monitor.settings).execute({**new_package("copy.copy", (result,)), "id": str(number)})
        monitor.results.send(module.pack(module.Kind.OUTCOME, outcome._replace(args=None)))
    monitor._receive()
    assert [outcome.id for outcome in monitor.database.outcomes] == ["0", "1"]


def test_outcomes_wait_for_a_cache_without_a_busy_loop(resting, clock) -> None:
    monitor, waits = resting
    outcome = Executor(monitor.settings).execute(new_package("copy.copy", (1,), cached=True))
    monitor.cache.outcomes, monitor.cache.retry_at, clock.seconds = [outcome], 100.25, 100.0
    monitor._receive()
    assert waits == [0.25]
    monitor.done.append(outcome)  # for the broker, which is available
    monitor._receive()
    assert waits[1] < 0


def test_outcomes_that_wait_for_a_cache_cause_no_back_pressure(resting, monkeypatch) -> None:
    monitor, _ = resting
    outcome = Executor(monitor.settings).execute(new_package("copy.copy", (1,), cached=True))
    monitor.cache.outcomes = [outcome] * 2000
    monitor._publish_state()
    assert (monitor.state.backlog, monitor.state.postponed) == (2000, 0)
    monitor.cache.backoff.failed()
    monitor._publish_state()
    assert (monitor.state.backlog, monitor.state.postponed) == (2000, 2000)
    monkeypatch.setattr(module, "MAX_POSTPONED_BYTES", 12_000_000)
    monitor._publish_state()
    assert (monitor.state.backlog, monitor.state.postponed) == (2000, 0)


@pytest.mark.parametrize(("finished", "sizes"), [("x", [500, 500, 200]), ("x" * 2**15, [128, 128])])
def test_outcomes_that_waited_for_the_cache_are_saved_in_batches(resting, monkeypatch, finished, sizes) -> None:
    monitor, _ = resting
    outcome = Executor(monitor.settings).execute(new_package("copy.copy", (1,), cached=True))
    monitor.cache.outcomes = [outcome._replace(finished=finished)] * (sum(sizes))
    batches = []
    monitor.finisher = SimpleNamespace(save=lambda outcomes: batches.append(len(outcomes)) or outcomes)
    while monitor.cache.outcomes:
        monitor._save(monitor.cache)
    assert batches == sizes
    assert len(monitor.queue.outcomes) == sum(sizes)


def test_nothing_is_fetched_while_the_monitor_is_blocked(resting, monkeypatch) -> None:
    monitor, _ = resting
    monitor._collect_while_blocked()
    assert not monitor.state.paused
    monkeypatch.setattr(type(monitor.saving), "seconds", monitor.settings.retry)
    monitor.results.send(module.pack(module.Kind.UNREADABLE, module.Unreadable("1", b"x", "rubbish")))
    monitor._collect_while_blocked()
    assert monitor.state.paused
    assert len(monitor.unreadable) == 1
    monitor._publish_state()
    assert not monitor.state.paused


def test_returned_packages_are_released_when_the_broker_is_back(resting, caplog) -> None:
    caplog.set_level("INFO", "django-q")
    monitor, _ = resting
    released = []

    def release_many(ack_ids: list[str]) -> list[str]:
        if not caplog.text:
            raise BrokerUnavailable("no")
        released.extend(ack_ids)
        return []

    monitor.broker = SimpleNamespace(release_many=release_many)
    monitor.returned = ["lease"]
    monitor._settle()
    monitor._publish_state()
    assert monitor.state.paused
    monitor.queue.retry_at = 0.0
    monitor._settle()
    monitor._publish_state()
    assert released == ["lease"]
    assert not monitor.state.paused
    assert caplog.text.count("saving results failed") == caplog.text.count("saving results succeeded again") == 1
