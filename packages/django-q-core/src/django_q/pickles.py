"""Objects ↔ pickles of any edition."""

from __future__ import annotations

import io
import pickle
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROTOCOL: Final = pickle.HIGHEST_PROTOCOL
"""The newest of this Python."""

_BEFORE: Final = b"(\x8c\x07started\x8c\x08datetime\x8c\x08datetime\x93C\n"
_AFTER: Final = (
    b"\x8c\x08datetime\x8c\x08timezone\x93\x8c\x08datetime\x8c\x09timedelta\x93K\x00K\x00K\x00\x87R\x85R\x86Ru."
)
"""What adds `started` to the dictionary that a pickle ends with: a mark, the key, the moment in UTC, and the end."""


def dumps(value: object) -> bytes:
    """Pickle.

    To find out how the time zone UTC is pickled takes Python three times as long as the rest of a package, so what it
    finds out is written down here.
    """
    if type(value) is not dict or type(sent := value.get("started")) is not datetime or sent.tzinfo is not UTC:
        return pickle.dumps(value, protocol=PROTOCOL)
    rest = value.copy()
    del rest["started"]
    data = pickle.dumps(rest, protocol=PROTOCOL)
    how: Any = sent.__reduce_ex__(PROTOCOL)
    # The mark takes the place of the stop, so that the frame around it keeps its length.
    return b"".join((memoryview(data)[:-1], _BEFORE, how[1][0], _AFTER))


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
