"""Pickles and unpickles objects, also those of other editions."""

from __future__ import annotations

import io
import pickle
from datetime import UTC, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from django_q.text import error_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PICKLE_PROTOCOL: Final = pickle.HIGHEST_PROTOCOL
"""The newest protocol of this Python."""


def dumps(value: object) -> bytes:
    """Pickle an object."""
    return pickle.dumps(value, protocol=PICKLE_PROTOCOL)


def loads(data: bytes) -> Any:
    """Unpickle an object. Two kinds of data that fail are read in another way.

    django-q on a Django before 4 pickled time zones of pytz, which need not be installed. A collated result contains a
    pickle of each element: one that cannot be read is replaced by a text, and the others are read.
    """
    try:
        return pickle.loads(data)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "pytz":
            return WithoutPytz(io.BytesIO(data)).load()
        if not all(name in data for name in NESTED_PICKLE_PARTS):
            raise
        try:
            return ElementUnpickler(io.BytesIO(data)).load()
        except Exception:  # noqa: BLE001 - the first error tells more
            raise error from None


UNREADABLE: Final = "This value cannot be read: "
"""First words of the text that takes the place of an element that cannot be unpickled."""

NESTED_PICKLE_PARTS: Final = (b"_pickle", b"loads")
"""Parts of each pickle that calls `pickle.loads` for its elements."""


class ElementUnpickler(pickle.Unpickler):
    """Unpickles the elements of a collated result one by one."""

    def find_class(self, module: str, name: str) -> Any:
        """Return replacements for the function that unpickles an element, and the one that unwraps it."""
        if (module, name) in {("_pickle", "loads"), ("pickle", "loads")}:
            return readable
        if (module, name) == ("operator", "attrgetter"):
            return unwrapper
        return super().find_class(module, name)


def readable(data: bytes) -> Any:
    """Unpickle an element, or return the reason why it cannot be unpickled."""
    try:
        return loads(data)
    except Exception as error:  # noqa: BLE001 - unpickling runs constructors of the project
        return f"{UNREADABLE}{error_line(error)}"


def unwrapper(name: str) -> Callable[[Any], Any]:
    """Return a function like `operator.attrgetter(name)` that returns objects without that attribute unchanged."""
    return lambda value: getattr(value, name, value)


class WithoutPytz(pickle.Unpickler):
    """Unpickles the time zones of pytz as those of Python."""

    def find_class(self, module: str, name: str) -> Any:
        """Return replacements for the functions with which pytz pickles its zones."""
        return ZONES[name] if module == "pytz" and name in ZONES else super().find_class(module, name)


def _utc() -> tzinfo:
    return UTC


def _zone(key: str, *_offset: object) -> tzinfo:
    return ZoneInfo(key)


def _fixed(minutes: int) -> tzinfo:
    return timezone(timedelta(minutes=minutes))


ZONES: Mapping[str, Callable[..., tzinfo]] = {"_UTC": _utc, "_p": _zone, "FixedOffset": _fixed}
