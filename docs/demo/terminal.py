"""What the demo prints: lines, a bar that moves where it can, and tables, in 80 columns."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 80
BAR = 30
PLAIN_SECONDS = 2.0
"""Seconds between two lines of progress where a bar cannot move."""


class Terminal:
    """Standard output, pretty on a terminal and plain everywhere else."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.moves = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colours = self.moves and "NO_COLOR" not in os.environ
        self._bar_is_open = False
        self._said_at = 0.0

    # lines

    def say(self, text: str = "") -> None:
        """Print a line, or several."""
        self._close_bar()
        for line in text.split("\n"):
            self._write(self._fit(line) + "\n")

    def title(self, text: str) -> None:
        """Print a heading with room around it."""
        self.say()
        self.say(self.style(text, "1"))
        self.say()

    def item(self, text: str) -> None:
        """Print one of several things, in as many lines as it needs."""
        self.say(textwrap.fill(text, WIDTH, initial_indent="  - ", subsequent_indent="    "))

    def good(self, text: str) -> None:
        """Print what went well."""
        self.say(f"{self.style(self._can('✔', 'ok'), '32')} {text}")

    def bad(self, text: str) -> None:
        """Print what did not."""
        self.say(f"{self.style(self._can('✘', '!!'), '31')} {text}")

    def quote(self, text: str) -> None:
        """Print somebody else's words, indented; what is too wide goes on in the next line."""
        bar = self.style(self._can("│", "|"), "2")
        room = WIDTH - 2
        for line in text.splitlines():
            for start in range(0, max(len(line), 1), room):
                self.say(f"{bar} {line[start : start + room]}".rstrip())

    def facts(self, rows: Iterable[Sequence[str]]) -> None:
        """Print rows of a name, a value and perhaps a remark."""
        for name, value, *remark in rows:
            self.say(f"  {name:<16}{value:>12}  {self.style(' '.join(remark), '2')}".rstrip())

    # progress

    def progress(self, done: int, total: int, what: str, rate: float) -> None:
        """Show how far we are: as a bar that moves, or as a line now and then."""
        if self.moves:
            filled = BAR * done // total
            bar = self._can("█", "#") * filled + self.style(self._can("░", "."), "2") * (BAR - filled)
            self._write(f"\r\x1b[2K  {bar}  {done:,} of {total:,} {what}, {rate:,.0f}/s")
            self._bar_is_open = True
        elif done == total or time.monotonic() - self._said_at >= PLAIN_SECONDS:
            self._said_at = time.monotonic()
            self.say(f"  {done:,} of {total:,} {what}, {rate:,.0f}/s")

    # how

    def style(self, text: str, code: str) -> str:
        """The text in a colour or weight, where there are such."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colours and text else text

    def _can(self, fine: str, plain: str) -> str:
        try:
            fine.encode(self.out.encoding or "ascii")
        except UnicodeEncodeError:
            return plain
        return fine

    def _fit(self, line: str) -> str:
        encoding = self.out.encoding or "ascii"
        return line.encode(encoding, "backslashreplace").decode(encoding)

    def _close_bar(self) -> None:
        if self._bar_is_open:
            self._bar_is_open = False
            self._write("\n")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()
