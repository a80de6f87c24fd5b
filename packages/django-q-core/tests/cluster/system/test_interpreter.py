"""Changes of a task to the interpreter do not affect the next task."""

from __future__ import annotations

import asyncio
import decimal
import gc
import io
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import warnings

import pytest
from django.utils import timezone
from django_q.cluster.system import interpreter
from django_q.cluster.system.files import free_file
from django_q.cluster.system.interpreter import Interpreter

ALARM = {signal.SIGALRM}


class Unequal:
    """Profiler that cannot be compared."""

    def __call__(self, *_: object) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = None  # type: ignore[assignment]


CHANGES = {
    "decimal precision": (lambda: decimal.getcontext().prec, lambda: setattr(decimal.getcontext(), "prec", 1)),
    "decimal traps": (
        lambda: decimal.getcontext().traps[decimal.Inexact],
        lambda: decimal.getcontext().traps.__setitem__(decimal.Inexact, True),
    ),
    "disabled logger": (
        lambda: logging.getLogger("django-q").disabled,
        lambda: setattr(logging.getLogger("django-q"), "disabled", True),
    ),
    "disabled logging": (lambda: logging.root.manager.disable, lambda: logging.disable(logging.CRITICAL)),
    "garbage collection": (gc.isenabled, gc.disable),
    "garbage collection thresholds": (gc.get_threshold, lambda: gc.set_threshold(1, 2, 3)),
    "recursion limit": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(sys.getrecursionlimit() - 1)),
    "signal mask": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ALARM),
    ),
    "socket timeout": (socket.getdefaulttimeout, lambda: socket.setdefaulttimeout(0.001)),
    "standard error": (lambda: sys.stderr, lambda: setattr(sys, "stderr", None)),
    "warning filters": (lambda: list(warnings.filters), lambda: warnings.simplefilter("error")),
    "standard output": (lambda: sys.stdout, lambda: setattr(sys, "stdout", io.StringIO())),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_undone(name):
    look, change = CHANGES[name]
    state, before = Interpreter(), look()
    change()
    assert look() != before
    assert state.restore()
    assert look() == before


@pytest.fixture
def standard_output(monkeypatch, tmp_path):
    """Return a file that takes the place of standard output."""
    file = os.open(tmp_path / "output", os.O_CREAT)
    os.set_inheritable(file, True)
    monkeypatch.setattr(interpreter, "STANDARD_FILES", (file,))
    yield file
    os.close(file)


def test_closed_standard_files_are_opened_again(standard_output):
    state, before = Interpreter(), os.fstat(standard_output)
    os.close(standard_output)
    assert state.restore()
    assert os.path.samestat(os.fstat(standard_output), before)
    assert os.get_inheritable(standard_output)  # by the programs that tasks start


def test_replaced_standard_files_are_opened_again(standard_output, tmp_path):
    state, before = Interpreter(), os.fstat(standard_output)
    other = os.open(tmp_path / "other", os.O_CREAT)
    os.dup2(other, standard_output)  # as code does that captures what a library in C prints
    os.close(other)
    assert state.restore()
    assert os.path.samestat(os.fstat(standard_output), before)


def test_worker_without_copies_of_its_standard_files_is_replaced(standard_output):
    state = Interpreter()
    for copy, _ in state.copies:
        os.close(copy)
    assert not state.restore()


def test_replaced_copies_of_standard_files_are_noticed(standard_output, tmp_path):
    state = Interpreter()
    assert state.has_copies()
    [(copy, _)] = state.copies
    os.close(copy)
    assert not state.has_copies()
    other = os.open(tmp_path / "other", os.O_CREAT)
    if other != copy:
        os.dup2(other, copy)
        os.close(other)
    assert not state.has_copies()
    os.close(copy)


def test_copies_of_standard_files_can_be_closed():
    first_free = free_file()
    state = Interpreter()
    assert free_file() > first_free
    state.close()
    assert free_file() == first_free


def test_standard_files_that_were_closed_before_are_left_alone(monkeypatch):
    monkeypatch.setattr(interpreter, "STANDARD_FILES", (2**20,))
    state = Interpreter()
    assert state.copies == []
    assert state.restore()


def test_worker_without_standard_error_is_replaced_and_can_log(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    state = Interpreter()
    sys.stderr.close()
    assert not state.restore()
    assert sys.stderr is None


def test_profiler_that_cannot_be_compared_is_removed():
    state = Interpreter()
    sys.setprofile(Unequal())
    assert state.restore()
    assert sys.getprofile() is None


def test_worker_with_a_detached_stream_is_replaced(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stream)
    state = Interpreter()
    stream.detach()
    assert not state.restore()
    assert sys.stdout is None


@pytest.mark.parametrize(
    ("module", "name"),
    [(time, "monotonic"), (time, "time"), (timezone, "now"), (pickle, "dumps"), (pickle, "loads")],
)
def test_worker_with_a_replaced_function_is_replaced(monkeypatch, module, name):
    state, function = Interpreter(), getattr(module, name)
    monkeypatch.setattr(module, name, lambda *_, **__: 5.0)
    assert not state.restore()
    assert getattr(module, name) is function


def test_worker_in_a_loop_that_a_task_left_is_replaced():
    state, loop = Interpreter(), asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    assert not state.restore()
    assert asyncio._get_running_loop() is None
    loop.close()


def test_dump_of_tracebacks_that_a_task_has_ordered_is_cancelled(tmp_path):
    code = (
        "import faulthandler, time\n"
        "from django_q.cluster.system.interpreter import Interpreter\n"
        "state = Interpreter()\n"
        "faulthandler.dump_traceback_later(0.2, exit=True)\n"
        "assert state.restore()\n"
        "time.sleep(0.5)\n"  # longer than the order
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_worker_with_another_priority_is_replaced(monkeypatch):
    state = Interpreter()
    monkeypatch.setattr(state, "priority", state.priority + 1)
    assert not state.restore()
