"""Signals reach their receivers, and never break a task."""

from __future__ import annotations

from functools import partial

import pytest
from django_q import signals
from django_q.execution import hooks


@pytest.fixture
def received():
    """Calls of a receiver of `pre_execute`."""
    received = []

    def listen(sender, **arguments) -> None:
        received.append((sender, {name: arguments[name] for name in arguments if name != "signal"}))

    signals.pre_execute.connect(listen)
    yield received
    signals.pre_execute.disconnect(listen)


def test_receiver_gets_the_sender_and_arguments(received) -> None:
    signals.emit(signals.pre_execute, func=len, task={"id": "1"})
    assert received == [("django_q", {"func": len, "task": {"id": "1"}})]


def test_receiver_that_raises_is_logged_and_others_are_called(received, caplog) -> None:
    def broken(sender, **arguments) -> None:
        raise RuntimeError("receiver broke")

    signals.pre_execute.connect(broken)
    try:
        signals.emit(signals.pre_execute, func=len, task={})
    finally:
        signals.pre_execute.disconnect(broken)
    assert received
    record = next(record for record in caplog.records if record.name == "django-q")
    assert "broken" in record.getMessage()
    assert "receiver broke" in record.getMessage()


def test_receiver_without_a_name_that_raises_is_logged(caplog) -> None:
    def broken(text, sender, **arguments) -> None:
        raise RuntimeError(text)

    receiver = partial(broken, "receiver broke")
    signals.pre_execute.connect(receiver)
    try:
        signals.emit(signals.pre_execute, func=len, task={})
    finally:
        signals.pre_execute.disconnect(receiver)
    assert "receiver broke" in caplog.text


def test_signal_without_receivers_does_nothing() -> None:
    signals.emit(signals.post_spawn, proc_name="Process-1")


def test_old_name_of_the_hook_receiver_is_found() -> None:
    assert signals.call_hook is hooks.call_hook
