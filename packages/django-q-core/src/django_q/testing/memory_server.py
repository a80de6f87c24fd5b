"""The memory broker's queues of one process, for its children and other processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from django_q.brokers.memory import ADDRESS, local_queue


class MemoryServer:
    """While it is entered, every `MemoryBroker` of this process and of processes started from it shares its queues."""

    def __enter__(self) -> Self:
        self._directory = tempfile.mkdtemp(prefix="django-q-")
        self.address = str(Path(self._directory, "memory"))
        self._lines: list[Connection] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen(64)
        self._before = os.environ.get(ADDRESS)
        os.environ[ADDRESS] = self.address
        threading.Thread(target=self._accept, name="memory-server", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._before is None:
            del os.environ[ADDRESS]
        else:
            os.environ[ADDRESS] = self._before
        for line in (self._listener, *self._lines):
            _hang_up(line)
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _address = self._listener.accept()
            except OSError:
                return
            line = Connection(accepted.detach())
            self._lines = [each for each in self._lines if not each.closed] + [line]
            threading.Thread(target=_serve, args=(line,), daemon=True).start()


def _hang_up(line: Connection | socket.socket) -> None:
    """End a connection, here and at its other end, and wake the thread that waits for it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(line.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def _serve(line: Connection) -> None:
    """Answer one client until it hangs up, or dies."""
    try:
        while True:
            list_key, method, args = line.recv()
            line.send(getattr(local_queue(list_key), method)(*args))
    except (EOFError, OSError):
        line.close()
