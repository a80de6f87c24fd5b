"""Converts any text, object or exception into text that is safe to store, log and display."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
"""Replacement of characters that no database can store: NUL and lone surrogates."""

TRUNCATION_MARK: Final = "…"
"""Last character of a truncated label."""

MAX_TEXT_CHARACTERS: Final = 100_000
"""Maximum length of a stored text, such as the message and traceback of a failure."""

MAX_LINE_CHARACTERS: Final = 1_000
"""Maximum length of a text in a log line."""


def text_of(value: object, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """Return the text form of any object, or a description of it if its `__str__` raises.

    Args:
        value: any object, for example an exception.
        limit: maximum number of characters; the middle of a longer text is omitted.

    Returns:
        Text that all UTF-8 databases can store.
    """
    try:
        text = str.__str__(str(value))
    except BaseException:  # noqa: BLE001 - the value's own code may raise anything, SystemExit included
        text = f"<unprintable {type_name(value)}>"
    return storable(bounded(text, limit))


def type_name(value: object) -> str:
    """Return the qualified name of an object's class, without running the object's own code."""
    name = type.__dict__["__qualname__"].__get__(type(value))
    return storable(str.__str__(name))


def qualified_type_name(value: object) -> str:
    """Return module and qualified name of an object's class, without running the object's own code."""
    module = type.__dict__["__dict__"].__get__(type(value)).get("__module__")
    return f"{storable(str.__str__(module))}.{type_name(value)}" if isinstance(module, str) else type_name(value)


def class_path(value: object) -> str:
    """Return the dotted path of an object's class, without running the object's own code."""
    path = qualified_type_name(value)
    return path if path != type_name(value) else f"builtins.{path}"


def storable(text: str) -> str:
    """Replace characters that no database can store: NUL and lone surrogates. Surrogate pairs become characters."""
    if "\0" not in text:
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    return text.replace("\0", REPLACEMENT).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def bounded(text: str, limit: int) -> str:
    """Replace the middle of a text with more than *limit* characters by the number of omitted characters."""
    if len(text) <= limit:
        return text
    kept = max(limit - 60, 0)
    head = kept * 3 // 4
    tail = kept - head
    missing = len(text) - kept
    return f"{text[:head]}… ({missing:,} characters left out) …{text[len(text) - tail :]}"


def truncated(label: str, length: int) -> str:
    """Return a label of at most *length* storable characters. A truncated one ends with `TRUNCATION_MARK`."""
    if len(label) > length:
        label = label[: length - 1] + TRUNCATION_MARK
    return storable(label)


def one_line(value: object, limit: int = MAX_LINE_CHARACTERS) -> str:
    """Return the text form of any object as one printable line: line breaks and control characters are escaped."""
    text = text_of(value, limit)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def ascii_only(text: str) -> str:
    """Return a text with escapes in place of non-ASCII characters, for databases with a smaller character set."""
    return text if text.isascii() else text.encode("ascii", "backslashreplace").decode()


def sentence_of(error: BaseException) -> str:
    """Return the message of an exception, or the name of its class if it has none."""
    return text_of(error) or type_name(error)


def error_line(error: BaseException) -> str:
    """Return class and message of an exception as one line."""
    message = one_line(error).strip()
    return f"{type_name(error)}: {message}" if message else type_name(error)


def traceback_of(error: BaseException, place: TracebackType | None = None) -> str:
    """Format an exception with its traceback.

    Args:
        error: the exception.
        place: beginning of the traceback; None for all of it.

    Returns:
        Storable text of at most `MAX_TEXT_CHARACTERS`. If the exception cannot be formatted, the name of its class.
    """
    try:
        text = "".join(traceback.format_exception(type(error), error, place or error.__traceback__))
    except BaseException:  # noqa: BLE001 - the exception's own code may raise anything
        text = f"{type_name(error)} (its traceback cannot be formatted)"
    return storable(bounded(text, MAX_TEXT_CHARACTERS)).strip()
