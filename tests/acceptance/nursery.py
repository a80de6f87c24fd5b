"""A process in which Django is imported, whose forks need not import it: that takes most of the start of a site."""

from __future__ import annotations

import functools
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

BYTECODE = Path(tempfile.gettempdir(), "django-q-tests-bytecode")
"""Folder of the compiled modules for the processes of all sites. Without it, each start would compile Django again."""

MODULES = [
    "django.core.cache.backends.filebased",
    "django.core.management",
    "django.db.backends.sqlite3.base",
    "django.db.models.sql.compiler",
    "django.forms",
    "django.http",
    "django.urls",
    "psycopg",
    "pymysql",
    "redis",
]
"""Modules of others that the sites use and that read no settings. Some of the libraries may be absent."""

PROGRAM = """
import contextlib, gc, importlib, json, os, socket, sys
for module in sys.argv[1:]:
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
gc.freeze()

requests = socket.socket(fileno=0)
while True:
    size, files, _, _ = socket.recv_fds(requests, 4, 4)
    if not size:
        os._exit(0)
    fork = json.loads(requests.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    if not os.fork():
        break
    for file in files:
        os.close(file)
    with contextlib.suppress(ChildProcessError):  # No keeper is left.
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass

requests.detach()
*standard, answers = files
if child := os.fork():  # This process, the keeper, tells how its only child ends.
    os.write(answers, child.to_bytes(4, "big"))
    for file in (0, *standard):
        os.close(file)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(answers, status.to_bytes(4, "big", signed=True))
    os._exit(0)

os.setpgid(0, 0)
os.close(answers)
for number, file in enumerate(standard):
    os.dup2(file, number)
    os.close(file)
os.chdir(fork["folder"])
os.environ.clear()
os.environ.update(fork["environment"])
paths = fork["environment"].get("PYTHONPATH", "").split(os.pathsep)
sys.path[:0] = [path for path in paths if path and path not in sys.path]
sys.argv[:] = ["-c"]
with contextlib.suppress(ImportError):  # As at each start of Python.
    import sitecustomize
exec(fork["program"], {"__name__": "__main__"})
"""


class Nursery:
    """Starts programs, as `python -c` would, except that variables for Python itself have no effect but PYTHONPATH."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", str(BYTECODE))}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.lock = threading.Lock()
        self.requests, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *MODULES], env=environment, process_group=0,
                stdin=theirs, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        weakref.finalize(self, _close, self.process, self.requests)

    def fork(self, program: str, folder: Path, environment: dict[str, str], files: Sequence[Any]) -> Fork:
        """Start a program.

        Args:
            program: Python code.
            folder: working directory.
            environment: environment variables.
            files: standard input, output and error.
        """
        request = {"program": program, "folder": str(folder), "environment": environment}
        data = json.dumps(request).encode()
        reader, writer = os.pipe()
        try:
            with self.lock:
                numbers = [*(file.fileno() for file in files), writer]
                socket.send_fds(self.requests, [len(data).to_bytes(4, "big")], numbers)
                self.requests.sendall(data)
        finally:
            os.close(writer)
        return Fork(reader)


class Fork:
    """A program that the nursery has started.

    Args:
        answers: pipe from which its process id can be read, and its exit status when it has ended.

    Raises:
        ChildProcessError: the nursery has ended.
    """

    def __init__(self, answers: int) -> None:
        self.answers = os.fdopen(answers, "rb", buffering=0)
        pid = self.answers.read(4)
        if not pid:
            raise ChildProcessError("the nursery has ended")
        self.pid = int.from_bytes(pid, "big")
        self.returncode: int | None = None

    def wait(self, seconds: float) -> int:
        """Wait for its end, and return its exit status, as `subprocess` does.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            if not select.select([self.answers], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired("the fork of the nursery", seconds)
            with self.answers:
                self.returncode = int.from_bytes(self.answers.read(4), "big", signed=True)
        return self.returncode


@functools.cache
def nursery() -> Nursery:
    """Return the nursery of this process."""
    return Nursery()


def _close(process: subprocess.Popen[bytes], requests: socket.socket) -> None:
    requests.close()
    process.terminate()
    process.wait(10)
