"""Ends a process when the one that made it is gone, however it went."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Lifeline:
    """A pair of sockets: the maker keeps one end open as long as it lives, the others see it close."""

    def __init__(self) -> None:
        self._maker: socket.socket | None
        self._maker, self._made = socket.socketpair()

    def __getstate__(self) -> dict[str, Any]:
        return {"_maker": None, "_made": self._made}  # a spawned process never gets the maker's end

    def guard(self) -> None:
        """Tie the process that calls to the life of the maker. Called once, first thing, in the new process."""
        self.release()
        threading.Thread(target=self._wait, name="lifeline", daemon=True).start()

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


def die_with_parent() -> None:
    """Have Linux kill this process when its parent dies, even while C code holds the interpreter's lock.

    Only for a forked child: the parent of a `forkserver` child is another process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
