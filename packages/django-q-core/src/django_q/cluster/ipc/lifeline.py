"""Ends a process when the one that made it is gone, however it went."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from functools import cache
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Lifeline:
    """A pair of sockets: the maker keeps one end open as long as it lives, the others see it close."""

    def __init__(self) -> None:
        self._maker: socket.socket | None
        self._maker, self._made = socket.socketpair()
        self._parent = 0
        """The id of the maker, when Linux watches it for us."""
        if sys.platform == "linux":
            _prctl()  # looked up once, before the forks

    def __getstate__(self) -> dict[str, Any]:
        # A spawned process never gets the maker's end.
        return {"_maker": None, "_made": self._made, "_parent": 0}

    def guard(self, *, forked: bool) -> None:
        """Tie the process that calls to the life of the maker. Called once, first thing, in the new process.

        Args:
            forked: the maker is its parent, so Linux can end it, even while C code holds the interpreter's lock; else
                a thread of its own does. (A thread more would warn a task that forks.)
        """
        self.release()
        if forked and die_with_parent():
            parent = multiprocessing.parent_process()
            self._parent = os.getppid() if parent is None else parent.pid or 0
            self.check()  # it may have died before we asked
            return
        threading.Thread(target=self._wait, name="lifeline", daemon=True).start()

    def check(self) -> None:
        """End this process when its maker is gone: Linux forgets to when a task has changed the user."""
        if self._parent and os.getppid() != self._parent:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> socket.socket:
        """The end that becomes readable when the maker is gone, for a process that wants to end in its own way."""
        self.release()
        return self._made

    def release(self) -> None:
        """Close the copy of the maker's end that a forked process was born with."""
        if self._maker is not None:
            self._maker.close()
            self._maker = None

    def _wait(self) -> None:
        while True:
            try:
                self._made.recv(1)
            except InterruptedError:
                continue
            except OSError:
                pass  # a cut line is a line that ends
            os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent() -> bool:
    """Have Linux kill this process when its parent dies; whether it will.

    Only for a forked child: the parent of a `forkserver` child is another process.
    """
    return sys.platform == "linux" and _prctl()(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0


@cache
def _prctl() -> Any:
    return ctypes.CDLL(None).prctl
