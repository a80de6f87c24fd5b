"""Validates the type of each field of a schedule. The model validates their combinations."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

from django.utils.functional import Promise

from django_q.exceptions import DjangoQError
from django_q.text import storable
from django_q.wire.option_values import LABEL, count, flag, function, invalid, queue_name, text_form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def text(name: str, value: object) -> str:
    """Return a text or a lazy translation as a plain `str`."""
    if isinstance(value, (str, Promise)):
        return storable(str.__str__(str(value) if isinstance(value, Promise) else value))
    raise invalid(name, value, "a text")


def schedule_name(name: str, value: object) -> str:
    """Return the text form of a name. The model rejects a long one, because a truncated name is not unique."""
    return storable(text_form(name, value, LABEL))


def whole_number(name: str, value: object) -> Any:
    """Return a number of minutes or repeats; the model validates texts."""
    return value if isinstance(value, str) or value == -1 else count(name, value)


def truth(name: str, value: object) -> Any:
    """Return a truth value; the model validates texts."""
    return value if isinstance(value, str) else flag(name, value)


def moment(name: str, value: object) -> Any:
    """Return a datetime, such as one of arrow; the model validates texts and dates."""
    if isinstance(value, (str, date)) or callable(getattr(value, "astimezone", None)):
        return value
    raise invalid(name, value, "a datetime")


FIELD_RULES: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "catch_up": truth,
    "cluster": queue_name,
    "cron": text,
    "hook": function,
    "intended_date_kwarg": text,
    "minutes": whole_number,
    "name": schedule_name,
    "next_run": moment,
    "overlap": truth,
    "repeats": whole_number,
    "schedule_type": text,
}
"""The rule of each field."""


def checked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with normal values; None and unknown names stay as they are.

    Raises:
        OptionError: a value has a wrong type.
    """
    return {
        name: value if value is None or name not in FIELD_RULES else checked_field(name, value)
        for name, value in fields.items()
    }


def checked_field(name: str, value: object) -> Any:
    """Return the normal value of one field.

    Raises:
        OptionError: the value has a wrong type.
    """
    try:
        return FIELD_RULES[name](name, value)
    except DjangoQError:
        raise
    except (Exception, SystemExit) as error:
        raise invalid(name, value, "another value: this one cannot be read") from error
