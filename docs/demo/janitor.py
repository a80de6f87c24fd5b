"""Cleans up after a demo that was killed: stops what it started and removes its folder.

The demo may be killed before it can clean up: on Ctrl-C, `hatch run` kills its command a quarter of a second later.
So another process holds the other end of a pipe, and cleans up when the pipe is closed.
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
"""Time that the processes of the demo have to stop."""


class Janitor:
    """Client of the janitor process: the end of the pipe that the demo holds.

    Args:
        folder: folder to remove.
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
        """Stop a process group if the demo is killed."""
        self._write(f"{group}\n")

    def dismiss(self) -> None:
        """End the janitor: the demo has cleaned up."""
        self._write("done\n")
        self._process.communicate()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


def clean_up(folder: Path, groups: list[int]) -> None:
    """Stop process groups by their signal, kill the rest, and remove the folder."""
    for group in groups:
        send(signal.SIGTERM, group)
    deadline = time.monotonic() + STOP_SECONDS
    for group in groups:
        while send(0, group) and time.monotonic() < deadline:
            time.sleep(0.05)
        send(signal.SIGKILL, group)
    shutil.rmtree(folder, ignore_errors=True)


def send(number: int, group: int) -> bool:
    """Send a signal to a group; return True if it has processes."""
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
