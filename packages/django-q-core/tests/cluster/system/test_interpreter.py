"""Changes of a task to the interpreter do not affect the next task."""

from __future__ import annotations

import decimal
import gc
import io
import logging
import os
import signal
import socket
import sys

import pytest
from django_q.cluster.system import interpreter
from django_q.cluster.system.interpreter import Interpreter

ALARM = {signal.SIGALRM}

CHANGES = {
    "decimal precision": (lambda: decimal.getcontext().prec, lambda: setattr(decimal.getcontext(), "prec", 1)),
    "disabled logger": (
        lambda: logging.getLogger("django-q").disabled,
        lambda: setattr(logging.getLogger("django-q"), "disabled", True),
    ),
    "disabled logging": (lambda: logging.root.manager.disable, lambda: logging.disable(logging.CRITICAL)),
    "garbage collection": (gc.isenabled, gc.disable),
    "recursion limit": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(sys.getrecursionlimit() - 1)),
    "signal mask": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ALARM),
    ),
    "socket timeout": (socket.getdefaulttimeout, lambda: socket.setdefaulttimeout(0.001)),
    "standard error": (lambda: sys.stderr, lambda: setattr(sys, "stderr", None)),
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


def test_worker_whose_standard_files_are_closed_is_replaced(monkeypatch, tmp_path):
    file = os.open(tmp_path / "input", os.O_CREAT)
    monkeypatch.setattr(interpreter, "STANDARD_FILES", (file,))
    state = Interpreter()
    assert state.restore()
    os.close(file)
    assert not state.restore()


def test_worker_with_another_file_as_standard_output_is_replaced(monkeypatch, tmp_path):
    file, other = (os.open(tmp_path / name, os.O_CREAT) for name in ("output", "other"))
    os.set_inheritable(file, True)  # as standard output is
    monkeypatch.setattr(interpreter, "STANDARD_FILES", (file,))
    state = Interpreter()
    os.dup2(other, file)  # as code does that captures what a library in C prints
    assert not state.restore()
    os.close(other)
    os.close(file)


def test_worker_without_standard_error_is_replaced_and_can_log(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    state = Interpreter()
    sys.stderr.close()
    assert not state.restore()
    assert sys.stderr is None


def test_worker_with_another_priority_is_replaced(monkeypatch):
    state = Interpreter()
    monkeypatch.setattr(state, "priority", state.priority + 1)
    assert not state.restore()
