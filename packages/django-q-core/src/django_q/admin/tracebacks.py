"""Shows the frames of a traceback, those of libraries folded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from django.utils.html import format_html, format_html_join
from django.utils.translation import ngettext

from django_q.admin.values import monospaced

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME: Final = re.compile(r'^\s+File "([^"]*)", line \d+', re.MULTILINE)
"""First line of a frame."""

LIBRARY: Final = re.compile(r"[\\/](?:site-packages|dist-packages|lib[\\/]python[\d.]+|django_q)[\\/]|^<frozen ")
"""Paths of code that is not the project's."""


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
