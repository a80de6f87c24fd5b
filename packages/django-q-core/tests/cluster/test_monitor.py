"""When the monitor waits for outcomes, and what it does meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django_q.cluster import monitor as module
from django_q.cluster.channels import Channel
from django_q.cluster.monitor import Monitor
from django_q.cluster.state import ClusterState
from django_q.conf import current_settings
from django_q.execution import Executor
from django_q.package import new_package


class Surplus:
    """A finisher with portions to delete, each of which takes three seconds."""

    def __init__(self, clock: SimpleNamespace, portions: int) -> None:
        self.clock, self.portions = clock, portions

    @property
    def has_surplus(self) -> bool:
        return self.portions > 0

    def prune(self) -> None:
        self.portions -= 1
        self.clock.seconds += 3


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(seconds=0.0)
    clock.naps = []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.seconds, sleep=clock.naps.append))
    return clock


@pytest.fixture
def resting(clock, monkeypatch):
    """A monitor that has nothing to save, and how long it waits for that."""
    settings = current_settings()
    waits: list[float] = []
    results = Channel()
    monkeypatch.setattr(results, "wait", lambda seconds: waits.append(seconds))
    state = ClusterState(settings.workers)
    monitor = Monitor(SimpleNamespace(settings=settings, tasks=Channel(), results=results, state=state))
    monitor.finisher = Surplus(clock, portions=3)
    return monitor, waits


def test_surplus_is_deleted_with_pauses_in_which_others_can_write(resting) -> None:
    monitor, waits = resting
    for _ in range(3):
        monitor._receive()
    assert waits == [0.0, 1.5, 1.5]
    assert not monitor.finisher.has_surplus


def test_outcome_comes_before_the_surplus(resting, monkeypatch) -> None:
    monitor, _ = resting
    monkeypatch.setattr(monitor.results, "wait", lambda seconds: True)
    monitor.results.send(module.pack(module.Kind.UNREADABLE, module.Unreadable("1", b"x", "rubbish")))
    monitor._receive()
    assert len(monitor.unreadable) == 1
    assert monitor.finisher.portions == 3


@pytest.mark.parametrize(("waiting", "gathers"), [(1, True), (module.ENOUGH + 1, False)])
def test_outcomes_gather_until_enough_wait(resting, clock, waiting, gathers) -> None:
    monitor, _ = resting
    monitor.finisher.portions = 0
    monitor.state.pushed = waiting + 1  # another task is to come
    slot = monitor.state.slots[0]
    for _ in range(waiting):
        monitor.results.send(module.pack(module.Kind.UNREADABLE, module.Unreadable("1", b"x", "rubbish")))
        slot.finish(sent=True)
    monitor._receive()
    assert len(monitor.unreadable) == waiting
    assert bool(clock.naps) is gathers


def test_large_outcomes_are_saved_a_few_at_a_time(resting) -> None:
    monitor, _ = resting
    monitor.finisher.portions = 0
    result = "x" * (module.BATCH_BYTES // 2)
    for number in range(3):
        outcome = Executor(monitor.settings).execute({**new_package("copy.copy", (result,)), "id": str(number)})
        monitor.results.send(module.pack(module.Kind.OUTCOME, outcome._replace(args=None)))
    monitor._receive()
    assert [outcome.id for outcome in monitor.outcomes] == ["0", "1"]
