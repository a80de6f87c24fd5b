"""Runs a `manage.py` command beside the demo."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

MANAGE = Path(__file__).parent / "manage.py"
LOG_LINES = 25
EACH_TASK = (" processing ", " Processed ")
"""Parts of the log lines that a cluster writes for each task that succeeds."""


class ServiceDied(Exception):
    """A process of the demo ended unexpectedly."""

    def __init__(self, service: Service) -> None:
        super().__init__(f"{service.what} ended before its work was done: {service.how_it_ended()}.")
        self.service = service


class Service:
    """A process in its own session, so that Ctrl-C reaches only the demo, and the processes that it starts.

    Args:
        what: its name in messages.
        folder: folder of its log.
        *arguments: arguments of `manage.py`.
    """

    def __init__(self, what: str, folder: Path, *arguments: str) -> None:
        self.what = what
        self._log = folder / f"{arguments[0]}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(MANAGE), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the id of the outermost process."""
        return self._process.pid

    def check(self) -> None:
        """Check that it runs.

        Raises:
            ServiceDied: the process has ended.
        """
        if self._process.poll() is not None:
            raise ServiceDied(self)

    def stop(self, number: signal.Signals, seconds: float) -> int | None:
        """Stop it with a signal; kill it after the given time.

        Returns:
            The exit status, or None if it was killed.
        """
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill all processes that are left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def how_it_ended(self) -> str:
        """Return a text that describes the exit status."""
        code = self._process.returncode
        return f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"

    def log(self) -> str:
        """Return the last lines of the log, without those of each task."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if not any(words in line for words in EACH_TASK)][-LOG_LINES:])
