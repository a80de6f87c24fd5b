"""Objects ↔ pickles of any edition."""

from __future__ import annotations

import io
import pickle
from datetime import UTC, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROTOCOL: Final = pickle.HIGHEST_PROTOCOL
"""The newest of this Python."""


def dumps(value: object) -> bytes:
    """Pickle."""
    return pickle.dumps(value, protocol=PROTOCOL)


def loads(data: bytes) -> Any:
    """Unpickle, also what django-q wrote on a Django before 4: its moments belong to pytz, which need not be here."""
    try:
        return pickle.loads(data)
    except ModuleNotFoundError as error:
        if error.name != "pytz":
            raise
        return WithoutPytz(io.BytesIO(data)).load()


class WithoutPytz(pickle.Unpickler):
    """Unpickles the time zones of pytz as those of Python."""

    def find_class(self, module: str, name: str) -> Any:
        """Swap the functions by which pytz pickles its zones."""
        return ZONES[name] if module == "pytz" and name in ZONES else super().find_class(module, name)


def _utc() -> tzinfo:
    return UTC


def _zone(key: str, *_offset: object) -> tzinfo:
    return ZoneInfo(key)


def _fixed(minutes: int) -> tzinfo:
    return timezone(timedelta(minutes=minutes))


ZONES: Mapping[str, Callable[..., tzinfo]] = {"_UTC": _utc, "_p": _zone, "FixedOffset": _fixed}
