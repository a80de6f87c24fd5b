"""Output of the demo in 80 columns: lines, tables, and a progress bar if the terminal supports it."""

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
"""Seconds between two lines of progress if the terminal has no bar."""


class Terminal:
    """Standard output, with colours and a progress bar if it is a terminal."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.moves = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colours = self.moves and "NO_COLOR" not in os.environ
        self._bar_is_open = False
        self._progress_at = 0.0

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
        """Print an item of a list, wrapped."""
        self.say(textwrap.fill(text, WIDTH, initial_indent="  - ", subsequent_indent="    "))

    def good(self, text: str) -> None:
        """Print a success."""
        self.say(f"{self.style(self._can('✔', 'ok'), '32')} {text}")

    def bad(self, text: str) -> None:
        """Print a failure."""
        self.say(f"{self.style(self._can('✘', '!!'), '31')} {text}")

    def quote(self, text: str) -> None:
        """Print a quotation, indented and wrapped."""
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
        """Show the progress as a bar, or as a line every two seconds."""
        if self.moves:
            filled = BAR * done // total
            bar = self._can("█", "#") * filled + self.style(self._can("░", "."), "2") * (BAR - filled)
            self._write(f"\r\x1b[2K  {bar}  {done:,} of {total:,} {what}, {rate:,.0f}/s")
            self._bar_is_open = True
        elif done == total or time.monotonic() - self._progress_at >= PLAIN_SECONDS:
            self._progress_at = time.monotonic()
            self.say(f"  {done:,} of {total:,} {what}, {rate:,.0f}/s")

    # how

    def style(self, text: str, code: str) -> str:
        """Return the text in a colour or weight, if the terminal has them."""
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
