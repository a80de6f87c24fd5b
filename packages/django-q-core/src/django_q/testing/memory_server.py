"""Server that shares the memory broker's queues of one process with other processes."""

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

from django_q.brokers.memory import ADDRESS
from django_q.brokers.memory_queue import local_queue


class MemoryServer:
    """Context manager: each `MemoryBroker` of this process, and of processes that it starts, shares its queues."""

    def __enter__(self) -> Self:
        self._directory = tempfile.mkdtemp(prefix="django-q-")
        self.address = str(Path(self._directory, "memory"))
        self._connections: list[Connection] = []
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
        for connection in (self._listener, *self._connections):
            _shut_down(connection)
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def has_clients(self) -> bool:
        """True if another process uses the queues."""
        return any(not each.closed for each in self._connections)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _address = self._listener.accept()
            except OSError:
                return
            connection = Connection(accepted.detach())
            self._connections = [each for each in self._connections if not each.closed] + [connection]
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _shut_down(connection: Connection | socket.socket) -> None:
    """Shut a connection down at both ends, which wakes the thread that reads from it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def _serve(connection: Connection) -> None:
    """Answer the calls of one client until it disconnects."""
    try:
        while True:
            list_key, method, args = connection.recv()
            connection.send(getattr(local_queue(list_key), method)(*args))
    except (EOFError, OSError):
        connection.close()
