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
from django_q.cluster.isolation import free_file
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


def test_worker_with_another_priority_is_replaced(monkeypatch):
    state = Interpreter()
    monkeypatch.setattr(state, "priority", state.priority + 1)
    assert not state.restore()
