"""Reads the metadata of a package, without importing or running code of the project.

Only workers unpickle arguments, which may exit, hang or kill the process. All other processes read packages here.
"""

from __future__ import annotations

import io
import operator
import pickle
from datetime import date, datetime, time, timedelta
from datetime import timezone as fixed_zone
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Self, TypeGuard
from uuid import UUID
from zoneinfo import ZoneInfo

from django.core.signing import BadSignature

from django_q.clock import sent_at
from django_q.exceptions import UnreadablePackage
from django_q.text import error_line, text_of, truncated
from django_q.wire.option_values import ID_CHARACTERS, LABEL_CHARACTERS, MAX_PRIORITY
from django_q.wire.pickling import ZONES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django_q.wire.codec import Codec

LABELS: Final = ("name", "group", "cluster", "schedule")
"""Keys of labels that a package may contain."""

ENDED_PROCESS: Final = "Unpickling the arguments ended the process."
"""Takes the place of arguments that must not be unpickled again."""

FLAG_KEYS: Final = ("save", "ack_failure", "sync", "waited_for", "success", "track")
"""Keys of truth values."""

NUMBER_KEYS: Final = ("cached", "iter_cached", "iter_count", "timeout", "attempt_count")
"""Keys of numbers that are not negative."""


class PlaceholderType(type):
    """Class of placeholders for classes and functions, with a readable notation."""

    path: str

    def __repr__(cls) -> str:
        return cls.path or "…"


class Placeholder(metaclass=PlaceholderType):
    """Replaces an object that is not unpickled. It accepts each operation of a pickle."""

    path = ""
    """Dotted path of the class or function that it replaces."""

    args: tuple[Any, ...]
    """Positional arguments of the call that created it."""

    def __new__(cls, *args: Any, **_kwargs: Any) -> Self:
        """Create it from any arguments, here because a pickle may skip `__init__`."""
        made = super().__new__(cls)
        made.args = args
        return made

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"{self.path or '…'}(…)"

    def __call__(self, *args: Any, **_kwargs: Any) -> Placeholder:
        """Return a placeholder for the result of a call."""
        return Placeholder(*args)

    def ignore(self, *args: Any) -> None:
        """Ignore a part of a state, list, set or mapping."""

    __setstate__ = __setitem__ = append = extend = add = update = ignore


def tolerant(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls *make*, and returns a `Placeholder` if that raises."""

    def made(*args: Any) -> Any:
        try:
            return make(*args)
        except Exception:  # noqa: BLE001 - a pickle may contain any arguments
            return Placeholder(*args)

    return made


def attribute(owner: Any, name: Any) -> Any:
    """Replace `getattr` in a pickle. Only the attribute with which time zones are pickled is looked up."""
    if owner is ZoneInfo and name == "_unpickle":
        return zone_of
    return _placeholder("builtins.getattr")(owner, name)


@tolerant
def zone_of(key: str, *_from_cache: object) -> ZoneInfo:
    """Return a time zone."""
    return ZoneInfo(key)


def _placeholder(path: str) -> type[Placeholder]:
    return type("Placeholder", (Placeholder,), {"path": path})


PLAIN_CLASSES: Final[dict[tuple[str, str], Any]] = {
    ("builtins", "bytearray"): tolerant(bytearray),
    ("builtins", "frozenset"): tolerant(frozenset),
    ("builtins", "getattr"): attribute,
    ("builtins", "set"): tolerant(set),
    ("datetime", "date"): tolerant(date),
    ("datetime", "datetime"): tolerant(datetime),
    ("datetime", "time"): tolerant(time),
    ("datetime", "timedelta"): tolerant(timedelta),
    ("datetime", "timezone"): tolerant(fixed_zone),
    ("decimal", "Decimal"): tolerant(Decimal),
    ("uuid", "UUID"): UUID,
    ("zoneinfo", "ZoneInfo"): ZoneInfo,
    ("zoneinfo", "ZoneInfo._unpickle"): zone_of,
    **{("pytz", name): tolerant(zone) for name, zone in ZONES.items()},
}
"""Harmless classes and functions that metadata may use. A `Placeholder` replaces all others."""


class MetadataUnpickler(pickle.Unpickler):
    """Unpickler that imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function of `PLAIN_CLASSES`, or a `Placeholder` for any other."""
        known = PLAIN_CLASSES.get((module, name))
        return _placeholder(f"{module}.{name}") if known is None else known

    def persistent_load(self, pid: Any) -> Any:
        """Return a `Placeholder` for an object outside of the pickle."""
        return Placeholder()


class Unread:
    """Part of a package that is not unpickled here. If the pickle of this object is loaded, the result is that part.

    The pickle names functions of the standard library only, so that all editions of Django Q can read a saved task.

    Args:
        data: the pickled package.
        key: key of the part, such as `args`.
    """

    def __init__(self, data: bytes, key: str) -> None:
        self.data, self.key = data, key

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return operator.getitem, (Pickled(self.data), self.key)


class Pickled:
    """Pickled data. If the pickle of this object is loaded, the result is the object in the data.

    Args:
        data: a pickle.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return pickle.loads, (self.data,)


def peek(codec: Codec, package: str | bytes) -> dict[str, Any]:
    """Verify a signed package and read its metadata.

    Args:
        codec: codec of the cluster.
        package: signed text, as it was queued.

    Returns:
        A package of plain values: `func` and `hook` are dotted paths, `args` and `kwargs` are `Unread`. It has neither
        a `chain` nor other values that need code of the project.

    Raises:
        UnreadablePackage: the signature is foreign, or the package contains no task.
    """
    found, data = _opened(codec, package)
    return _plain(found, data)


def described(codec: Codec, package: str | bytes) -> dict[str, Any]:
    """Verify a signed package and read all its values. A `Placeholder` replaces each object of the project.

    Args:
        codec: codec of the cluster.
        package: signed text, as it was queued.

    Raises:
        UnreadablePackage: the signature is foreign, or the package contains no task.
    """
    return _opened(codec, package)[0]


def _opened(codec: Codec, package: str | bytes) -> tuple[dict[str, Any], bytes]:
    """Return the values of a package, and its pickle."""
    try:
        data = codec.unsign(package)
        found = MetadataUnpickler(io.BytesIO(data)).load()
    except BadSignature as error:
        raise UnreadablePackage(f"Package with a foreign signature ({error}).") from error
    except Exception as error:  # the data may be anything
        raise UnreadablePackage(f"Package that cannot be unpickled: {error_line(error)}.") from error
    if not isinstance(found, dict) or not {"id", "name", "func"} <= found.keys():
        raise UnreadablePackage("A signed package without a task: it was not made by async_task().")
    return found, data


def without_arguments(package: dict[str, Any]) -> dict[str, Any]:
    """Return metadata with a text in place of the arguments, so that no reader of the failure unpickles them."""
    return {**package, "args": ENDED_PROCESS, "kwargs": {}}


def _plain(found: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    task_id = text_of(found["id"])[:ID_CHARACTERS]
    plain: dict[str, Any] = {
        "id": task_id,
        "func": path_of(found["func"]),
        "args": () if found.get("args", ()) == () else Unread(data, "args"),
        "kwargs": {} if found.get("kwargs", {}) == {} else Unread(data, "kwargs"),
        "started": sent_at(found.get("started")),
    }
    for name in ("chain_started", "run_after"):
        if found.get(name) is not None:
            plain[name] = sent_at(found[name])
    for name in LABELS:
        if found.get(name) is not None:
            plain[name] = truncated(text_of(found[name]), LABEL_CHARACTERS)
    plain.setdefault("name", task_id)
    if found.get("hook") is not None:
        plain["hook"] = path_of(found["hook"])
    if is_priority(found.get("priority")):
        plain["priority"] = found["priority"]
    plain |= {name: found[name] for name in FLAG_KEYS if isinstance(found.get(name), bool)}
    plain |= {name: found[name] for name in NUMBER_KEYS if is_number(found.get(name))}
    options = found.get("iter_options")
    if isinstance(options, dict):
        plain["iter_options"] = {
            str(name): value if isinstance(value, bool) else truncated(text_of(value), LABEL_CHARACTERS)
            for name, value in options.items()
            if value is not None
        }
    return plain


def is_number(value: object) -> bool:
    """Return True if *value* is a bool, or a finite number that is not negative."""
    return isinstance(value, (bool, int, float)) and isfinite(value) and value >= 0


def is_priority(value: object) -> TypeGuard[int]:
    """Return True if *value* is the priority of a task."""
    return type(value) is int and abs(value) <= MAX_PRIORITY


def path_of(func: object) -> str:
    """Return the dotted path of a function that was pickled by name, of a method, or of an object's class."""
    if isinstance(func, str):
        return text_of(func)
    if isinstance(func, type) and issubclass(func, Placeholder):
        return text_of(func.path.removeprefix("builtins."))
    if isinstance(func, Placeholder):
        if func.path == "builtins.getattr" and len(func.args) == 2:
            return f"{path_of(func.args[0])}.{text_of(func.args[1])}"
        return text_of(func.path)
    return text_of(func)
