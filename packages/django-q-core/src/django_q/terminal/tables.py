"""Renders tables as lines of a given width. A line is a sequence of styled segments."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GAP: Final = "  "
"""Space between two columns."""

MIN_ELASTIC_WIDTH: Final = 6
"""Minimum width to which an elastic column shrinks."""


class Segment(NamedTuple):
    """Text with a style of blessed, such as `green` or `bold_red`; an empty style is plain."""

    text: str
    style: str = ""


Line = tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True)
class Column:
    """Column of a table."""

    title: str
    is_number: bool = False
    """True to align its cells at the right."""
    is_elastic: bool = False
    """True to shorten its cells if the table is wider than the screen."""
    min_width: int = 0
    min_screen: int = 0
    """Width of the screen from which the column is shown."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Titles, and rows with one segment for each column."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Segment]]

    def lines(self, width: int) -> list[Line]:
        """Return the header and one line for each row.

        Args:
            width: width of the screen in characters.
        """
        shown = [index for index, column in enumerate(self.columns) if column.min_screen <= width]
        columns = [self.columns[index] for index in shown]
        rows = [[row[index] for index in shown] for row in self.rows]
        widths = fitted(columns, natural(columns, rows), width)
        header = GAP.join(aligned(column.title, own, column) for column, own in zip(columns, widths, strict=True))
        return [
            (Segment(aligned(cut(header, width), width), "reverse"),),
            *(line(row, columns, widths, width) for row in rows),
        ]


def line(row: Sequence[Segment], columns: Sequence[Column], widths: Sequence[int], width: int) -> Line:
    """Return the line of a row, at most *width* characters wide."""
    segments: list[Segment] = []
    room = width
    for cell, column, own in zip(row, columns, widths, strict=True):
        text = cut(cell.text, own)
        text = (GAP if segments else "") + aligned(text, own, column)
        text = cut(text, room)
        room -= width_of(text)
        if text:
            segments.append(Segment(text, cell.style))
    return tuple(segments)


def natural(columns: Sequence[Column], rows: Sequence[Sequence[Segment]]) -> list[int]:
    """Return the widths at which nothing is shortened."""
    return [
        max([column.min_width, width_of(column.title), *(width_of(row[index].text) for row in rows)])
        for index, column in enumerate(columns)
    ]


def fitted(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Return widths that fit into *width*: the widest elastic column is reduced, as long as that helps."""
    widths = list(widths)
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        elastic = [
            index for index, column in enumerate(columns) if column.is_elastic and widths[index] > MIN_ELASTIC_WIDTH
        ]
        if not elastic:
            break
        widths[max(elastic, key=lambda index: widths[index])] -= 1
    return widths


def aligned(text: str, width: int, column: Column | None = None) -> str:
    """Return a text filled with spaces, on the left for a column of numbers."""
    space = " " * (width - width_of(text))
    return space + text if column and column.is_number else text + space


def cut(text: str, width: int) -> str:
    """Return a text of at most *width* screen columns. A shortened one ends with an ellipsis."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 1:
        text = text[:-1]
    return text + "…" if width > 0 else ""


def width_of(text: str) -> int:
    """Return the number of screen columns of a text: two for wide East Asian characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def plain(line: Line) -> str:
    """Return a line without styles."""
    return "".join(segment.text for segment in line).rstrip()


def styled(line: Line, style: Callable[[str], Callable[[str], str]]) -> str:
    """Return a line with styles.

    Args:
        line: the line.
        style: returns a function for the name of a style, which adds it to a text: `blessed.Terminal.__getattr__`.
    """
    return "".join(style(segment.style)(segment.text) if segment.style else segment.text for segment in line)
