"""A resident Python process that runs snippets in a site."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import tempfile
import weakref
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from .nursery import nursery

if TYPE_CHECKING:
    from pathlib import Path

    from .nursery import Fork

SNIPPET_SECONDS = 120
"""Maximum time of one snippet."""

SERVER = """
import atexit, gc, os, socket, struct, sys, threading, traceback, types
import django
django.setup()
from django.db import connections
try:  # Imported once here, not in each snippet.
    import django.db.models.sql.compiler, django_q.models, django_q.tasks
    from django_q.brokers.registry import broker_class, current_settings
    broker_class(current_settings())
    [connections[alias] for alias in connections]
except Exception:
    pass  # The snippet that needs it shows the error.

sys.stdout.flush()
gc.freeze()
requests = socket.socket(fileno=0)
stream = requests.makefile("rb")
requests.sendall(b"r")
while size := stream.read(4):
    code = stream.read(struct.unpack("!I", size)[0])
    if not (child := os.fork()):
        break
    requests.sendall(struct.pack("!i", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
else:
    os._exit(0)
requests.detach()
stream.detach()
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
main = sys.modules["__main__"] = types.ModuleType("__main__")
status = 1
try:
    exec(compile(code.decode(), "<snippet>", "exec"), vars(main))
    status = 0
except SystemExit as error:
    status = error.code if isinstance(error.code, int) else int(error.code is not None)
except BaseException:
    traceback.print_exc()
finally:  # As an interpreter ends, except that it does not free each object: that takes ten times as long as the fork.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)
"""
"""The program of the process: one fork per snippet, so that no snippet inherits what another has changed."""


class ShellEndedError(AssertionError):
    """The shell of a site ended instead of answering."""


class Shell:
    """A process in which Django is set up; it forks a child for each snippet, and reports the exit status of the child.

    It is itself a fork of the nursery, where Django is imported.

    Args:
        folder: working directory.
        environment: environment variables of the process.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.stdout = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (it lives as long as the shell)
        self.stderr = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        self.connection, theirs = socket.socketpair()
        with theirs:
            self.process = nursery().fork(SERVER, folder, environment, (theirs, self.stdout, self.stderr))
        self.close = weakref.finalize(self, _close, self.process, self.connection, self.stdout, self.stderr)
        self.ready = False

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a fork and wait for its end.

        Raises:
            ShellEndedError: the shell itself ended.
            subprocess.TimeoutExpired: the program took too long; the shell is killed.
        """
        if not self.ready:
            self._receive(1)
            self.ready = True
        for file in (self.stdout, self.stderr):
            file.seek(0)  # The program shares this position.
            file.truncate()
        program = code.encode()
        self.connection.sendall(len(program).to_bytes(4, "big") + program)
        status = int.from_bytes(self._receive(4), "big", signed=True)
        return subprocess.CompletedProcess([], status, _text(self.stdout), _text(self.stderr))

    def _receive(self, count: int) -> bytes:
        if not select.select([self.connection], [], [], SNIPPET_SECONDS)[0]:
            self.close()
            raise subprocess.TimeoutExpired("the shell of the site", SNIPPET_SECONDS)
        received = b""
        with suppress(ConnectionResetError):
            received = self.connection.recv(count, socket.MSG_WAITALL)
        if len(received) == count:
            return received
        status = self.process.wait(SNIPPET_SECONDS)
        error = f"the shell of the site ended with status {status}:\n{_text(self.stderr)}"
        self.close()
        raise ShellEndedError(error)


def _close(process: Fork, connection: socket.socket, *outputs: IO[bytes]) -> None:
    """End the shell; kill it if a snippet still runs."""
    connection.close()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(SNIPPET_SECONDS)
    for output in outputs:
        output.close()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
