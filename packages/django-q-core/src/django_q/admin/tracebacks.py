"""Shows the text of a failure: exception, message, and the frames of its traceback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.translation import ngettext

from django_q.admin.values import monospaced

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACEBACK_HEADER: Final = "Traceback (most recent call last):"

LAST_LINE: Final = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$", re.DOTALL | re.MULTILINE)
"""The exception's class and message, which follow the frames."""

FRAME: Final = re.compile(r'^\s+File "([^"]*)", line \d+', re.MULTILINE)
"""First line of a frame."""

LIBRARY: Final = re.compile(r"[\\/](?:site-packages|dist-packages|lib[\\/]python[\d.]+|django_q)[\\/]|^<frozen ")
"""Paths of code that is not the project's."""


class FailureText(NamedTuple):
    """Parts of the result of a failed task."""

    error: str
    """Class and message of the exception, or the reason of a failure without one."""
    traceback: str
    """The traceback; empty if there is none."""

    @classmethod
    def of(cls, text: str) -> FailureText:
        """Split the text of a failure: a message, and a traceback that may follow it."""
        message, header, rest = text.partition(TRACEBACK_HEADER)
        if not header:
            return cls(text.strip(), "")
        message = message.strip().removesuffix(" :").removesuffix(":").strip()
        last = LAST_LINE.search(rest.rpartition(TRACEBACK_HEADER)[2])
        if last and (not message or (last[2] or "").strip().startswith(message)):
            return cls(last[0].strip(), header + rest)
        return cls(f"{last[1]}: {message}" if last else message, header + rest)


def frames(traceback: str) -> Iterator[tuple[bool, str]]:
    """Yield parts of a traceback: True and lines of the project, or False and consecutive frames of libraries."""
    project: list[str] = []
    library: list[str] = []
    starts_library = False
    for line in traceback.splitlines(keepends=True):
        if frame := FRAME.match(line):
            starts_library = bool(LIBRARY.search(frame[1]))
        elif not line.startswith(" "):
            starts_library = False
        into, other = (library, project) if starts_library else (project, library)
        if other:
            yield other is project, "".join(other)
            other.clear()
        into.append(line)
    if project or library:
        yield bool(project), "".join(project or library)


def as_html(traceback: str) -> str:
    """Return a traceback as preformatted text. Frames of libraries are folded."""
    return format_html_join("", "{}", ((part_as_html(is_project, text),) for is_project, text in frames(traceback)))


def part_as_html(is_project: bool, text: str) -> str:
    """Return lines of the project, or folded frames of libraries."""
    if is_project:
        return monospaced(text)
    count = len(FRAME.findall(text))
    label = ngettext("%(count)d frame of a library", "%(count)d frames of libraries", count) % {"count": count}
    return format_html("<details><summary>{}</summary>{}</details>", label, monospaced(text))
