"""A `manage.py` command that runs beside the demo: started, watched, stopped."""

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
"""What a cluster's log says of every task that runs well."""


class ServiceDied(Exception):
    """A process of the demo ended that nobody had told to."""

    def __init__(self, service: Service) -> None:
        super().__init__(f"{service.what} ended before its work was done: {service.how_it_ended()}.")
        self.service = service


class Service:
    """One such process and everything it starts, in a session of its own: a Ctrl-C reaches only the demo.

    Args:
        what: what people call it.
        folder: where its log goes.
        *arguments: of `manage.py`.
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
        """The id of its outermost process."""
        return self._process.pid

    def check(self) -> None:
        """Go on if it runs.

        Raises:
            ServiceDied: it does not.
        """
        if self._process.poll() is not None:
            raise ServiceDied(self)

    def stop(self, number: signal.Signals, seconds: float) -> int | None:
        """Ask it to end.

        Returns:
            Its exit status, or None when it had to be killed.
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
        """End whatever is left of it, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def how_it_ended(self) -> str:
        """Its exit status in words."""
        code = self._process.returncode
        return f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"

    def log(self) -> str:
        """The last lines it wrote, without those that every task leaves."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if not any(words in line for words in EACH_TASK)][-LOG_LINES:])
