from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import connection
from typing import Any

import pytest
from django_q.cluster.ipc import lifeline
from django_q.cluster.ipc.lifeline import Lifeline

FORK = multiprocessing.get_context("fork")


def made(line: Lifeline, hidden: bool, sender: Any) -> None:
    if hidden:
        lifeline.die_with_parent = lambda: False
    line.guard(forked=True)
    sender.send((os.getpid(), threading.active_count()))
    signal.pause()


def maker(hidden: bool, sender: Any) -> None:
    line = Lifeline()
    FORK.Process(target=made, args=(line, hidden, sender)).start()
    signal.pause()


@pytest.mark.parametrize("hidden", [False, True], ids=["Linux watches", "a thread watches"])
def test_process_ends_when_its_maker_is_killed(hidden: bool) -> None:
    hear, say = FORK.Pipe(duplex=False)
    process = FORK.Process(target=maker, args=(hidden, say))
    process.start()
    say.close()
    _, threads = hear.recv()
    assert threads == (1 if sys.platform == "linux" and not hidden else 2)
    process.kill()
    # The last process with the other end of the pipe has ended.
    assert connection.wait([hear], timeout=5) == [hear]
    with pytest.raises(EOFError):
        hear.recv()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread watches")
def test_check_ends_a_process_that_linux_does_not_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    line = Lifeline()
    monkeypatch.setattr(lifeline, "die_with_parent", lambda: True)
    line.guard(forked=True)
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    line.check()
    assert killed == []
    monkeypatch.setattr(os, "getppid", lambda: 1)
    line.check()
    assert killed == [(os.getpid(), signal.SIGKILL)]
