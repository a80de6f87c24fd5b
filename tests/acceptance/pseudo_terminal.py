"""Runs a command in a pseudo-terminal, and reads its screen as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pyte

from .site import TIME_FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .site import Site


class PseudoTerminal:
    """A command of `manage.py` and its screen."""

    def __init__(self, site: Site, arguments: tuple[str, ...], columns: int, lines: int) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.ours, theirs = pty.openpty()
        self.set_size(columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            env=site.environment | {"TERM": "xterm-256color"}, cwd=site.folder,
            stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - Ctrl-C needs the terminal
        )  # fmt: skip
        os.close(theirs)

    def set_size(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.ours, keys.encode())

    def read(self, seconds: float) -> bool:
        """Pass output to the screen; return False when the command has closed the terminal."""
        ready, _, _ = select.select([self.ours], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.ours, 65_536)
        except OSError:  # Linux, when no process has the terminal open
            return False
        self.stream.feed(data)
        return bool(data)

    def shows(self, true: Callable[[list[str]], bool], within: float = 10) -> list[str]:
        """Wait until the lines of the screen satisfy a condition, and return them."""
        deadline = time.monotonic() + within * TIME_FACTOR
        while not true(self.lines):
            assert time.monotonic() < deadline, "\n".join(self.lines)
            assert self.read(0.1), "\n".join(self.lines)
        return self.lines

    @property
    def lines(self) -> list[str]:
        """Lines of the screen, without spaces at their ends."""
        return [line.rstrip() for line in self.screen.display]

    def colour(self, line: int, column: int) -> str:
        """Return the colour of the character at a place."""
        return self.screen.buffer[line][column].fg

    def wait(self, within: float = 10) -> int:
        """Read until the command ends, and return its exit status."""
        deadline = time.monotonic() + within * TIME_FACTOR
        while self.read(0.1):
            assert time.monotonic() < deadline, "\n".join(self.lines)
        return self.process.wait(within)

    def close(self) -> None:
        """End the command."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)
        os.close(self.ours)


@contextmanager
def pseudo_terminal(site: Site, *arguments: str, columns: int = 80, lines: int = 24) -> Iterator[PseudoTerminal]:
    """Run a command in a pseudo-terminal. At the end of the block, it is killed if it still runs."""
    terminal = PseudoTerminal(site, arguments, columns, lines)
    try:
        yield terminal
    finally:
        terminal.close()
