"""Shows screens in the terminal, again and again, until a key ends that. Imports blessed."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from .tables import plain, styled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .tables import Line

REFRESH_SECONDS: Final = 1.0
"""Interval of the screens."""

KEY_SECONDS: Final = 0.1
"""Maximum time until a new size of the terminal is noticed."""

PIPE_WIDTH: Final = 80
"""Width of a screen that is written into a pipe or file, unless the variable `COLUMNS` says more."""

QUIT_KEYS: Final = frozenset("qQ")


def is_interactive() -> bool:
    """Return True if standard input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def width_of_output(stream: Any) -> int:
    """Return the number of columns for a screen that is written once: that of the terminal, or `PIPE_WIDTH`."""
    is_terminal = getattr(stream, "isatty", lambda: False)()
    return shutil.get_terminal_size((PIPE_WIDTH, 24)).columns if is_terminal else columns_of_environment()


def columns_of_environment() -> int:
    """Return the variable `COLUMNS`, or `PIPE_WIDTH`."""
    text = os.environ.get("COLUMNS", "")
    return int(text) if text.isdecimal() and int(text) else PIPE_WIDTH


def print_once(lines: Sequence[Line], stream: Any) -> None:
    """Write a screen once, in colour if the stream is a terminal.

    Args:
        lines: the screen.
        stream: object with `write` and `isatty`, such as a command's `stdout`.
    """
    if not getattr(stream, "isatty", lambda: False)():
        stream.write("\n".join(map(plain, lines)))
        return
    terminal = make_terminal()
    stream.write("\n".join(styled(line, lambda name: getattr(terminal, name)) for line in lines))


def make_terminal() -> Any:
    """Return blessed's terminal."""
    from blessed import Terminal

    return Terminal()


def show(make: Callable[[int, int], Sequence[Line]], press: Callable[[str], None]) -> None:
    """Show screens until `q` or an interrupt. A screen is drawn each `REFRESH_SECONDS`, after a key, and in a new size.

    Args:
        make: returns the screen for a width and height in characters.
        press: is called with each other key.
    """
    terminal = make_terminal()
    with terminal.fullscreen(), terminal.cbreak(), terminal.hidden_cursor():
        try:
            while True:
                size = terminal.width, terminal.height
                draw(terminal, make(*size))
                key = wait(terminal, size)
                if key in QUIT_KEYS:
                    return
                if key:
                    press(key)
        except KeyboardInterrupt:
            return


def draw(terminal: Any, lines: Sequence[Line]) -> None:
    """Replace the screen, line by line, so that it does not flicker."""
    texts = [styled(line, lambda name: getattr(terminal, name)) + terminal.clear_eol for line in lines]
    print(terminal.home + "\r\n".join(texts) + terminal.clear_eos, end="", flush=True)  # noqa: T201 - the screen


def wait(terminal: Any, size: tuple[int, int]) -> str:
    """Wait for a key, and return it. Return an empty text when the next screen is due, or the size has changed."""
    due = time.monotonic() + REFRESH_SECONDS
    while time.monotonic() < due and (terminal.width, terminal.height) == size:
        if key := terminal.inkey(timeout=KEY_SECONDS):
            return str(key)
    return ""
