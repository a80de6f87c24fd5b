"""Validates and normalises the values of options, one function for each type."""

from __future__ import annotations

import operator
import reprlib
from collections import UserString
from collections.abc import Awaitable, Callable, Iterator, Sized
from datetime import datetime, timedelta
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from django.db import connections
from django.utils import timezone
from django.utils.functional import Promise

from django_q.exceptions import OptionError
from django_q.settings.rules import CLUSTER_NAME, is_dead_letter_queue
from django_q.text import one_line, storable, truncated, type_name

if TYPE_CHECKING:
    from django_q.brokers import Broker

LABEL_CHARACTERS: Final = 100
"""Maximum length of a label: the columns `group`, `name` and `cluster`."""

PATH_CHARACTERS: Final = 256
"""Maximum length of a dotted path: the columns `func` and `hook`."""

ID_CHARACTERS: Final = 32
"""Maximum length of a task's id: the primary key."""

MAX_SECONDS: Final = 100 * 366 * 86_400
"""Maximum of options that are numbers of seconds: one hundred years."""

MAX_COUNT: Final = 1_000_000_000
"""Maximum of options that count tasks."""

MAX_PRIORITY: Final = 100
"""Maximum priority of a task. The minimum is its negative."""

MAX_VALUE_CHARACTERS: Final = 100
"""Maximum length of an invalid value in an error message."""

LABEL: Final = "a label: text, or a single value with a text form, such as a number, a UUID or an enum"
VALID_SECONDS: Final = "a number of seconds from 0 to one hundred years"


def invalid(name: str, value: object, expected: str) -> OptionError:
    """Return the error that names an option, its value and the expected type."""
    kind = type_name(value)
    return OptionError(f"{name} is {shown(value)} ({kind}): give {expected}.")


def shown(value: object) -> str:
    """Return the representation of any object as a short printable line."""
    try:
        text = _short.repr(value)
    except BaseException:  # noqa: BLE001 - the value's own code may raise anything
        text = f"<unprintable {type_name(value)}>"
    return one_line(text, MAX_VALUE_CHARACTERS)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = MAX_VALUE_CHARACTERS


def label(name: str, value: object, length: int = LABEL_CHARACTERS) -> str | None:
    """Return the text form of a label.

    A text that is too long is truncated and ends with a mark. Characters that no database can store are replaced.

    Args:
        name: name of the option, for the error.
        value: anything with a text form; None stays None.
        length: maximum number of characters.

    Raises:
        OptionError: the value is a container, or has no text form.
    """
    if type(value) is str and len(value) <= length and value.isascii() and "\0" not in value:
        return value
    return None if value is None else truncated(text_form(name, value, LABEL), length)


def required_label(name: str, value: object, length: int = LABEL_CHARACTERS) -> str:
    """Return the text form of a required label, such as the argument of a function that reads results.

    Raises:
        OptionError: the value is None or a container, or has no text form.
    """
    text = label(name, value, length)
    if text is None:
        raise invalid(name, value, LABEL)
    return text


def lookups(task_id: object) -> list[tuple[str, str]]:
    """Return the lookups of a task: pairs of a column and its value, in order.

    Args:
        task_id: id or name of the task; a UUID may be either.

    Raises:
        OptionError: it is None or a container, or has no text form.
    """
    text = required_label("task_id", task_id)
    if isinstance(task_id, UUID):
        return [("pk", task_id.hex), ("name", text)]
    return [("pk", text), ("name", text)] if len(text) == ID_CHARACTERS else [("name", text)]


def queue_name(name: str, value: object) -> str | None:
    """Return the text form of a queue's name, or None for the default queue.

    Raises:
        OptionError: the value has no text form, is too long, has characters that cannot be stored, or is the name of a
            dead-letter queue.
    """
    expected = f"the name of a cluster, of at most {LABEL_CHARACTERS} characters"
    text = None if value is None else text_form(name, value, expected)
    if text and (len(text) > LABEL_CHARACTERS or storable(text) != text):
        raise invalid(name, value, expected)
    if is_dead_letter_queue(text):
        raise invalid(name, value, CLUSTER_NAME)
    return text or None


def seconds(name: str, value: object) -> float | None:
    """Return a number of seconds as a plain number; None stays None.

    Raises:
        OptionError: the value is no number, negative, not finite or too large.
    """
    if value is None:
        return None
    number = _number(name, value, VALID_SECONDS)
    if not 0 <= number <= MAX_SECONDS:
        raise invalid(name, value, VALID_SECONDS)
    return number


def milliseconds(name: str, value: object) -> float:
    """Return a number of milliseconds as a plain number; a negative one means no limit.

    Raises:
        OptionError: the value is no number, or NaN.
    """
    expected = "a number of milliseconds, -1 to wait without end"
    number = _number(name, value, expected)
    if number != number:
        raise invalid(name, value, expected)
    return number


def duration(name: str, value: object) -> float | None:
    """Return a number of seconds, or a timedelta, as seconds; None stays None.

    Raises:
        OptionError: the value is neither, or negative, not finite or too large.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    try:
        return seconds(name, number)
    except OptionError as error:
        raise invalid(name, value, f"{VALID_SECONDS}, or a timedelta") from error


def count(name: str, value: object) -> int | None:
    """Return a number of tasks; None stays None.

    Raises:
        OptionError: the value is no whole number, negative or too large.
    """
    if value is None:
        return None
    expected = "a whole number, 0 or more"
    number = _number(name, value, expected)
    if not 0 <= number <= MAX_COUNT or number != int(number):
        raise invalid(name, value, expected)
    return int(number)


def required_count(name: str, value: object) -> int:
    """Return a required number of tasks.

    Raises:
        OptionError: the value is no whole number, negative or too large.
    """
    number = count(name, value)
    if number is None:
        raise invalid(name, value, "a whole number, 0 or more")
    return number


def priority(name: str, value: object) -> int | None:
    """Return a priority; None stays None.

    Raises:
        OptionError: the value is no whole number from -100 to 100.
    """
    if value is None:
        return None
    expected = f"a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}"
    number = _number(name, value, expected)
    if not -MAX_PRIORITY <= number <= MAX_PRIORITY or number != int(number):
        raise invalid(name, value, expected)
    return int(number)


def flag(name: str, value: object) -> bool | None:
    """Return a truth value; None stays None.

    Raises:
        OptionError: the value is not True, False, 1 or 0.
    """
    if value is None or value is True or value is False:
        return value
    if _is_numpy_bool(value) or (isinstance(value, Integral) and value in (0, 1)):
        return bool(value)
    raise invalid(name, value, "True or False")


def flag_or_seconds(name: str, value: object) -> float | None:
    """Return a truth value, or a number of seconds; None stays None.

    Raises:
        OptionError: the value is neither.
    """
    if value is None or value is True or value is False:
        return value
    if _is_numpy_bool(value):
        return bool(value)
    try:
        return seconds(name, value)
    except OptionError as error:
        raise invalid(name, value, f"True, False or {VALID_SECONDS}") from error


def function(name: str, value: object) -> str | Callable[..., Any] | None:
    """Return a dotted path or a callable; None and empty text are None.

    Raises:
        OptionError: the value is neither, or the path cannot be stored.
    """
    if value is None or (callable(value) and not isinstance(value, str)):
        return cast("Callable[..., Any] | None", value)
    if not isinstance(value, str) or not is_path(path := str.__str__(value)):
        raise invalid(name, value, "a function, or its dotted path")
    return path or None


def is_path(text: str) -> bool:
    """Return True if a text may be the dotted path of a function."""
    return len(text) <= PATH_CHARACTERS and storable(text) == text and text == text.strip()


def link_list(name: str, value: object) -> list[Any] | None:
    """Return a list of links without validating them; None stays None.

    Raises:
        OptionError: the value is no list.
    """
    if value is None or isinstance(value, list):
        return value
    if isinstance(value, tuple):
        return list(value)
    raise invalid(name, value, "a list of links: (function, (arguments,), {keywords})")


def broker(name: str, value: object) -> Broker | None:
    """Return a broker; None stays None.

    Raises:
        OptionError: the value has no `enqueue`.
    """
    if value is not None and not callable(getattr(value, "enqueue", None)):
        raise invalid(name, value, "a broker, as get_broker() returns it")
    return cast("Broker | None", value)


def moment(name: str, value: object) -> datetime | None:
    """Return an aware datetime; None stays None.

    Raises:
        OptionError: the value is no datetime, or too far in the future.
    """
    if value is None:
        return None
    expected = "a datetime within the next hundred years, or delay in seconds"
    try:
        aware = value if timezone.is_aware(value) else timezone.make_aware(value)  # type: ignore[arg-type]
        if isinstance(aware, datetime) and aware.timestamp() <= timezone.now().timestamp() + MAX_SECONDS:
            return aware
    except Exception as error:  # OverflowError, and any error of its time zone
        raise invalid(name, value, expected) from error
    raise invalid(name, value, expected)


def database(name: str, value: object) -> bool | str | None:
    """Return a truth value, or the alias of a database; None stays None.

    Raises:
        OptionError: the value is neither.
    """
    if isinstance(value, str) and (alias := str.__str__(value)) in connections.settings:
        return alias
    try:
        return flag(name, value)
    except OptionError as error:
        raise invalid(name, value, "True, False or the alias of a database") from error


def text_form(name: str, value: object, expected: str) -> str:
    """Return the text form of a single value, for an instance of `str` its characters.

    Args:
        name: name of the option, for the error.
        value: the value.
        expected: description of a valid value, for the error.

    Raises:
        OptionError: the value is a container, or has no text form.
    """
    try:
        if isinstance(value, str):
            return str.__str__(value)
        has_text = isinstance(value, (Promise, UserString)) or not isinstance(value, (Sized, Iterator, Awaitable))
        text = str.__str__(str(value)) if has_text else ""
    except BaseException as error:  # the value's own code may raise anything
        raise invalid(name, value, expected) from error
    # A text with the object's address is no text form: it differs between processes.
    if not has_text or f"0x{id(value):x}" in text.lower():
        raise invalid(name, value, expected)
    return text


def _number(name: str, value: object, expected: str) -> float:
    """Return a plain number, which may be out of range or NaN."""
    if type(value) is int or type(value) is float:
        return value
    try:
        if isinstance(value, Integral) and not isinstance(value, bool):
            return operator.index(value)
        if isinstance(value, (Real, Decimal)) and not isinstance(value, bool):
            return float(value)
    except Exception as error:  # OverflowError, ValueError, and any error of the value's own code
        raise invalid(name, value, expected) from error
    raise invalid(name, value, expected)


def _is_numpy_bool(value: object) -> bool:
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_")
