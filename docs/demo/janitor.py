"""Cleans up after a demo that was killed: stops what it started and removes its folder.

Whoever runs the demo may end it in a way that it cannot answer. `hatch run` itself, on Ctrl-C, kills its command a
quarter of a second later. So another process holds the other end of a pipe, and does what is left to do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

STOP_SECONDS = 15.0
"""How long the processes of the demo may take to stop."""


class Janitor:
    """The demo's end of the pipe.

    Args:
        folder: what is removed.
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def watch(self, group: int) -> None:
        """Have a process group stopped, should the demo be killed."""
        self._write(f"{group}\n")

    def dismiss(self) -> None:
        """The demo has cleaned up by itself."""
        self._write("done\n")
        self._process.communicate()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


def clean_up(folder: Path, groups: list[int]) -> None:
    """Stop process groups as they like to be stopped, then as they must; then remove the folder."""
    for group in groups:
        send(signal.SIGTERM, group)
    deadline = time.monotonic() + STOP_SECONDS
    for group in groups:
        while send(0, group) and time.monotonic() < deadline:
            time.sleep(0.05)
        send(signal.SIGKILL, group)
    shutil.rmtree(folder, ignore_errors=True)


def send(number: int, group: int) -> bool:
    """Send a signal to a group; whether there is still somebody in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
        return True
    return False


def main() -> None:
    """Wait for the end of the demo."""
    lines = [line.strip() for line in sys.stdin]
    if "done" not in lines:
        clean_up(Path(sys.argv[1]), [int(line) for line in lines])


if __name__ == "__main__":
    main()
