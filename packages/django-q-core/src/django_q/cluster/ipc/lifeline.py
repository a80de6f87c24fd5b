"""Detects the death of the process that made this one, and ends this one then."""

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
    """Pair of sockets. The maker keeps one end open while it lives; the other processes see it close."""

    def __init__(self) -> None:
        self._maker: socket.socket | None
        self._maker, self._made = socket.socketpair()
        self._parent = 0
        """Process id of the maker if Linux watches it; 0 otherwise."""
        if sys.platform == "linux":
            _prctl()  # load the library once, before the forks

    def __getstate__(self) -> dict[str, Any]:
        # A spawned process never gets the maker's end.
        return {"_maker": None, "_made": self._made, "_parent": 0}

    def guard(self, *, forked: bool) -> None:
        """End the calling process when the maker dies. Call it once, first, in the new process.

        Args:
            forked: True if the maker is the parent. Then Linux ends this process, even while C code holds the
                interpreter's lock. Otherwise a thread does; with a thread, Python would warn each task that forks.
        """
        self.release()
        if forked and die_with_parent():
            parent = multiprocessing.parent_process()
            self._parent = os.getppid() if parent is None else parent.pid or 0
            self.check()  # the maker may have died before the request
            return
        threading.Thread(target=self._wait, name="lifeline", daemon=True).start()

    def check(self) -> None:
        """End this process if its maker has died.

        The kernel clears `PR_SET_PDEATHSIG` when a task calls `setuid()`, so the parent's id is compared, too.
        """
        if self._parent and os.getppid() != self._parent:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> socket.socket:
        """Return the socket that becomes readable when the maker dies, for a process that shuts down in order."""
        self.release()
        return self._made

    def release(self) -> None:
        """Close the copy of the maker's end that a forked process has inherited."""
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
                pass  # an error of the socket counts as its end
            os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent() -> bool:
    """Request that Linux kills this process when its parent dies.

    Call it in a forked child only: the parent of a `forkserver` child is another process.

    Returns:
        True if the system accepted the request.
    """
    return sys.platform == "linux" and _prctl()(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0


@cache
def _prctl() -> Any:
    return ctypes.CDLL(None).prctl
