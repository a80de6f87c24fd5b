"""Formats log records as lines of JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

from django_q.log.fields import ATTRIBUTES
from django_q.text import text_of, traceback_of

MAX_DEPTH: Final = 5
"""Maximum depth of containers in `extra`. Deeper ones are written as text."""

MAX_INTEGER: Final = 2**63
"""Maximum size of a number that JSON parsers read. Larger ones are written as text."""

OWN_NAMES: Final = {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName"}
"""Attributes of a record that are not from `extra`."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, in ASCII, for any message and any `extra`.

    The members of the object are `time` (UTC), `level`, `logger`, `process`, `pid`, `message`, and then those fields of
    the record that are not None. `stack` and `extra` follow if the record has them. `traceback` is that of the record's
    exception, or of a failed task.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without a line break."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.processName,
            "pid": record.process,
            "message": _message(record),
            **{field: getattr(record, attribute, None) for field, attribute in ATTRIBUTES.items()},
            "stack": record.stack_info,
            "extra": _extra(record),
        }
        line["traceback"] = _traceback(record) or line["traceback"]
        return json.dumps({name: plain(value) for name, value in line.items() if value is not None})


def _message(record: logging.LogRecord) -> str:
    try:
        return text_of(record.getMessage())
    except Exception:  # noqa: BLE001 - arguments that do not fit the text, or whose own code raises
        return text_of(record.msg)


def _traceback(record: logging.LogRecord) -> str | None:
    error = record.exc_info[1] if record.exc_info else None
    return record.exc_text if error is None else traceback_of(error)


def _extra(record: logging.LogRecord) -> dict[str, Any] | None:
    """Return the `extra` of the caller; None if there is none."""
    extra = {name: value for name, value in vars(record).items() if name not in OWN_NAMES}
    fields = {field: extra.pop(attribute, None) for field, attribute in ATTRIBUTES.items()}
    for name in ("task_id", "task_name"):  # by `TaskFilter`, if the caller has no such names
        if type(extra.get(name)) is str and extra[name] in ("", fields[name]):
            del extra[name]
    return extra or None


def plain(value: Any, depth: int = MAX_DEPTH) -> object:
    """Return a value as JSON has it. Other objects are replaced by their text.

    Args:
        value: any object.
        depth: number of levels of containers.
    """
    kind = type(value)  # isinstance() would accept classes with code of their own
    if kind is str:
        return text_of(value)
    if value is None or kind is bool:
        return value
    if kind is int or kind is float:
        is_number = abs(value) < MAX_INTEGER if kind is int else isfinite(value)
        return value if is_number else text_of(value)
    if depth and kind is dict:
        return {text_of(key): plain(each, depth - 1) for key, each in value.items()}
    if depth and kind in (list, tuple):
        return [plain(each, depth - 1) for each in value]
    return text_of(value)
