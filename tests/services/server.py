"""Servers that a test session starts and ends."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

PR_SET_PDEATHSIG = 1


class Unavailable(Exception):
    """The server cannot run on this machine."""


class Server:
    """A private server: `start`, `stop`, `kill`, `restart`, `pause`, `resume`; its port and its data stay.

    Args:
        port: the port of the loopback address; a free one by default.
    """

    product = "server"
    host = "127.0.0.1"
    stop_signal = signal.SIGTERM
    account = ""  # user of the process if the tests run as root; "" is root

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = os.getpid()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @cached_property
    def folder(self) -> Path:
        """Temporary folder with its data and log."""
        folder = Path(tempfile.mkdtemp(prefix=f"{self.product}-"))
        if self.user is not None:
            os.chown(folder, self.user, -1)
        return folder

    @cached_property
    def user(self) -> int | None:
        """Id of the user of the process, if the tests run as root and the server does not; None for the same user."""
        if os.getuid() != 0 or not self.account:
            return None
        for name in (self.account, "nobody"):
            with suppress(KeyError):
                return pwd.getpwnam(name).pw_uid
        raise Unavailable(f"{self.product} does not run as root, and there is no user {self.account!r}")

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Return True if its process lives."""
        return self.process is not None and self.process.poll() is None

    def command(self) -> list[str]:
        """Return the command that starts the server in the foreground."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Return True if it answers."""
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
            return True
        return False

    def prepare(self) -> None:
        """Create the data folder. It is called once."""

    def start(self, within: float = 30) -> None:
        """Start it and wait until it answers."""
        if self.running:
            return
        if not any(self.folder.iterdir()):
            self.prepare()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 (it calls one C function)
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.user,
                process_group=0,
            )
        self.wait(self.ready, within)

    def say(self, command: str) -> str:
        """Send a line, and return the first part of the answer; empty if the server is unavailable."""
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=5) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536).decode().rstrip()
        return ""

    def wait(self, true: Callable[[], bool], within: float = 30) -> None:
        """Wait for a condition. If it is not true within so many seconds, kill the server."""
        deadline = time.monotonic() + within
        while not true():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise Unavailable(f"{self.product} did not start: {self.log[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in order; its data stays."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it as a power cut would; its data stays."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open, and nothing is answered."""
        self.signal(signal.SIGSTOP)
        if self.process is not None:  # until the signal has arrived, it could still answer
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Continue after `pause`."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Send a signal to its process."""
        if self.process is not None:
            self.process.send_signal(number)

    def close(self) -> None:
        """End it and delete its folder; do nothing in a forked child."""
        if os.getpid() == self.owner:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """Its output."""
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def run(self, command: Sequence[str]) -> None:
        """Run a command as the server's user and wait for it."""
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, user=self.user, check=False)
        if done.returncode:
            raise Unavailable(f"{command[0]} failed: {done.stdout}{done.stderr}")

    def _end(self, number: int) -> None:
        if self.process is None:
            return
        if self.running:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with suppress(ProcessLookupError):  # it had no children, or they are gone
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process = None


@contextmanager
def stalled(server: Server, seconds: float = 0.8) -> Iterator[None]:
    """Freeze a server during a block, and continue it after so many seconds, even if the block waits for it."""
    server.pause()
    later = threading.Timer(seconds, server.resume)
    later.start()
    try:
        yield
    finally:
        later.join()


def program(name: str, *folders: str) -> str:
    """Return the path of a program, which is on the PATH or in one of the folders.

    Raises:
        Unavailable: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise Unavailable(f"{name} is not installed")
    return found


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
