"""Commands: what the scheduler process reads, marks and passes on."""

from __future__ import annotations

import signal
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_q.cluster import commands as module
from django_q.cluster.commands import CommandReader
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.marks import BITS, CommandMarks, index_of
from django_q.cluster.ipc.messages import Cancel, unpack
from django_q.cluster.stop_command import STOP_LIFETIME, request_stop
from django_q.models import Command
from django_q.records.cancelling import cancel_task, is_cancelled
from django_q.wire.package import new_package

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch):
    """Simulated monotonic clock in seconds."""
    clock = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


@pytest.fixture
def reader(clock):
    state = SimpleNamespace(parent=4000, stop_requests=0)
    wiring = SimpleNamespace(marks=CommandMarks(), commands=Channel(), cluster_id="this-cluster", state=state)
    return CommandReader("scheduler", wiring)


@pytest.fixture
def signals(monkeypatch) -> list[tuple[int, int]]:
    """Process ids and numbers of the signals that the reader sends."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(module.os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


def passed_on(reader: CommandReader) -> list[Cancel]:
    messages = []
    while (message := reader.channel.receive(block=False)) is not None:
        messages.append(unpack(message))
    return messages


def step_later(reader: CommandReader, clock: SimpleNamespace, seconds: float = 1.0) -> list[Cancel]:
    clock.seconds += seconds
    reader.step()
    return passed_on(reader)


def test_command_is_passed_on_once(reader, clock) -> None:
    assert not reader.marks.are_loaded
    assert step_later(reader, clock) == []
    assert reader.marks.are_loaded
    assert not reader.marks.any
    cancel_task("a" * 32)
    (command,) = step_later(reader, clock)
    assert (command.kind, command.target) == ("task", "a" * 32)
    assert reader.marks.may_have([("task", "a" * 32)])
    assert not reader.marks.may_have([("group", "a" * 32), ("task", "b" * 32)])
    assert step_later(reader, clock) == step_later(reader, clock, 100) == []


def test_command_of_a_long_transaction_is_found(reader, clock) -> None:
    step_later(reader, clock)
    Command.objects.create(
        kind="task",
        target="late",
        created_at=timezone.now() - timedelta(minutes=5),
        expires_at=timezone.now() + timedelta(days=1),
    )
    assert step_later(reader, clock) == []
    assert [each.target for each in step_later(reader, clock, 60)] == ["late"]


def test_expired_commands_are_deleted(reader, clock) -> None:
    cancel_task("a" * 32)
    step_later(reader, clock)
    Command.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    step_later(reader, clock, 60)
    assert Command.objects.count() == 0
    assert not reader.marks.any
    assert not reader.marks.may_have([("task", "a" * 32)])


def test_unavailable_database_is_asked_again(reader, clock, monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    cancel_task("a" * 32)
    with monkeypatch.context() as patch:

        def away(*args):
            raise OperationalError("the server is away")

        patch.setattr(module, "select", away)
        patch.setattr(module, "close_connections", lambda: None)
        for _ in range(5):
            step_later(reader, clock)
    assert caplog.text.count("cannot read commands") == 1
    assert len(step_later(reader, clock, 60)) == 1
    assert "commands are read again" in caplog.text


def test_task_that_is_sent_later_is_not_cancelled() -> None:
    before = new_package("math.floor", group="g", task_id="a" * 32)
    cancel_task("a" * 32)
    assert is_cancelled(before)
    assert not is_cancelled(new_package("math.floor", group="g", task_id="a" * 32))
    assert not is_cancelled(new_package("math.floor", group="a" * 32, started=before["started"]))


def test_targets_that_share_a_mark_are_told_apart(reader, clock) -> None:
    cancel_task("0")
    step_later(reader, clock)
    other = next(str(n) for n in range(1, 20 * BITS) if index_of("task", str(n)) == index_of("task", "0"))
    assert reader.marks.may_have([("task", other)])
    assert not is_cancelled(new_package("math.floor", task_id=other, started=timezone.now() - timedelta(hours=1)))


def test_command_stops_the_cluster_that_it_names(reader, clock, signals) -> None:
    request_stop("this-cluster")
    assert step_later(reader, clock) == []
    assert signals == [(4000, signal.SIGTERM)]
    assert not reader.marks.any


def test_command_does_not_stop_another_cluster(reader, clock, signals) -> None:
    request_stop("another-cluster")
    assert step_later(reader, clock) == []
    assert not signals
    assert not reader.marks.any


def test_second_command_does_not_shorten_the_stop(reader, clock, signals) -> None:
    request_stop("this-cluster")
    request_stop("this-cluster")
    step_later(reader, clock)
    request_stop("this-cluster")
    step_later(reader, clock)
    assert len(signals) == 1


def test_command_does_not_shorten_the_stop_by_a_signal(reader, clock, signals) -> None:
    reader.wiring.state.stop_requests = 1
    request_stop("this-cluster")
    step_later(reader, clock)
    assert not signals


def test_expired_stop_is_not_executed_and_deleted(reader, clock, signals) -> None:
    request_stop("this-cluster")
    command = Command.objects.get()
    assert command.expires_at - command.created_at == STOP_LIFETIME
    reader.due, reader.reload_at = 0.0, clock.seconds + 60  # the next step deletes nothing
    Command.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    step_later(reader, clock)
    assert not signals
    step_later(reader, clock, 60)
    assert not Command.objects.exists()
