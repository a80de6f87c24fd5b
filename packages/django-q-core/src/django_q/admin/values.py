"""Shows values of any class as text, whatever their own code does."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import TYPE_CHECKING, Any, Final

from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext

from django_q.text import error_line, storable, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SHOWN_CHARACTERS: Final = 4_000
"""Maximum length of a value on a page. The download has all of it."""

MAX_LISTED_CHARACTERS: Final = 100
"""Maximum length of a value in a list."""

HEAD_CHARACTERS: Final = 4_000
"""Number of characters of a pickled column that contain the beginning of its text."""

PICKLE_START: Final = re.compile(r"gA[I-X][\w+/]")
"""Beginning of a column that could not be unpickled, so that it was read as a text: Base64 of a protocol from 2 on."""

MAX_WORD_CHARACTERS: Final = 15
"""Maximum length of a word that is not wrapped."""

PARTS: Final = re.compile(r"[^._/-]{1,15}[._/-]*|[._/-]+")
"""Parts of a long word between which a line may be broken."""

TEXT_PICKLE: Final = re.compile(rb"\x80.(?:\x95.{8})?(?:X(.{4})|\x8c(.)|\x8d(.{8}))", re.DOTALL)
"""Beginning of the pickle of a text: the protocol, a frame, and the length of the text in bytes."""


def notation(read: Callable[[], Any]) -> str:
    """Return a value in the notation of Python, or a note if it cannot be read or shown.

    Args:
        read: returns the value. It may run code of the project, which may raise any error.
    """
    try:
        value = read()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs the project's code
        return gettext("(This value cannot be read: %s)") % error_line(error)
    if isinstance(value, str) and PICKLE_START.match(value):
        return gettext("(This value cannot be read: its class may not exist any more.) %s") % storable(value)
    try:
        return storable(str.__str__(repr(value)))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the value's own code
        return gettext("(This %(type)s cannot be shown: %(error)s)") % {
            "type": type_name(value),
            "error": error_line(error),
        }


def beginning(text: str, limit: int = MAX_SHOWN_CHARACTERS) -> str:
    """Return the beginning of a text. A truncated one ends with an ellipsis."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def monospaced(text: str) -> str:
    """Return a monospaced block. It can have the focus, so that wide lines can be scrolled with the keyboard."""
    return format_html('<pre tabindex="0">{}</pre>', text)


def breakable(text: str) -> str:
    """Return a text whose long words a browser may wrap: after each dot, hyphen and slash, and between characters."""
    return format_html_join(" ", "{}", ((breakable_word(word),) for word in text.split()))


def breakable_word(word: str) -> str:
    """Return a word that may be wrapped if it is long."""
    if len(word) <= MAX_WORD_CHARACTERS:
        return word
    return format_html_join(format_html("{}<wbr>", ""), "{}", ((part,) for part in PARTS.findall(word)))


def pickled_text(head: str) -> str | None:
    """Return the beginning of the text in a column of pickles, without unpickling it.

    Args:
        head: beginning of the column: Base64, or a text that an early edition stored.

    Returns:
        The text; None if the column contains a value of another class.
    """
    try:
        data = a2b_base64(head[: len(head) // 4 * 4].encode("ascii"))
    except (Base64Error, UnicodeEncodeError):
        return storable(head)
    found = TEXT_PICKLE.match(data)
    if not found:
        return None
    length = int.from_bytes(found[found.lastindex or 0], "little")
    return storable(data[found.end() : found.end() + length].decode("utf-8", "replace"))
