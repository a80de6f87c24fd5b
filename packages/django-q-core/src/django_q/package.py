"""A task on paper: the plain dict that is signed and waits in a broker."""

from __future__ import annotations

import os
from string import hexdigits
from time import time_ns
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import UUID, uuid5

from django.utils import timezone

from django_q.humanhash import name_of
from django_q.text import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

OPTIONS = (
    "hook",
    "group",
    "save",
    "sync",
    "cached",
    "ack_failure",
    "iter_count",
    "iter_cached",
    "chain",
    "broker",
    "timeout",
    "cluster",
)
"""The keywords that tell Django Q about a task, and are not given to its function."""

TASK_OPTIONS = (*OPTIONS, "task_name")
"""All that a call may say about its task."""

PACKED_OPTIONS = tuple(option for option in OPTIONS if option != "broker")
"""The options that travel: a broker is where the package goes, not what it says."""


INHERITED = ("group", "cached", "cluster")
"""What the links of a chain have in common."""


class TaskPackage(TypedDict, total=False):
    """A task as every edition of Django Q writes it; which keys are there says where the task has been.

    `id` to `started` are always there. Options follow if they are set, and `result`, `success`, `stopped` and
    `attempt_count` once the task has run.
    """

    id: str
    name: str
    func: str | Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    started: datetime

    hook: str | Callable[..., Any]
    group: str
    save: bool
    sync: bool
    cached: bool | int
    ack_failure: bool
    iter_count: int
    iter_cached: bool | int
    chain: list[Any]
    timeout: float
    cluster: str
    schedule: str
    waited_for: bool
    iter_options: dict[str, Any]

    ack_id: Any
    result: Any
    success: bool
    stopped: datetime
    attempt_count: int


MAX_MEMBERS = 1_000_000
"""Maximum number of members of an iter; a task that claims more does not belong to one."""

_RANDOM = 0x0FFF3FFFFFFFFFFFFFFF
_VERSION_4 = 0x40008000000000000000
"""What is random in an id, and what makes a UUID of it; the milliseconds since 1970 stand before both."""

_TIME = 12
"""Hexadecimal digits of an id that say when it was made."""


def new_id() -> str:
    """Name a task for machines: 32 hexadecimal characters, a UUID that begins with the time.

    Rows of tasks that were sent together have their places in the indexes of a large table side by side, so that few
    pages are read and written. That is the layout of version 7 (RFC 9562, 5.7); the version says 4, which every edition
    of Django Q has promised.
    """
    number = time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10)) & _RANDOM | _VERSION_4
    return f"{number:032x}"


def is_id(text: str) -> bool:
    """Tell whether this may be what a task is named for machines."""
    return len(text) == 32 and set(text) <= set(hexdigits)


def is_member(iter_count: object, group: object) -> bool:
    """Return True if a task with these options belongs to an iter: its group is the iter's id."""
    counts = isinstance(iter_count, int) and 0 < iter_count <= MAX_MEMBERS
    return counts and isinstance(group, str) and is_id(group)


def next_id(task_id: str) -> str:
    """Name the link of a chain that comes after another: the same however often it is sent."""
    return _derived(task_id, "chain")


def member_id(iter_id: str, index: int) -> str:
    """Name the task of an iter that is given the arguments of this index."""
    return _derived(iter_id, str(index))


def _derived(task_id: str, name: str) -> str:
    """Make an id that stands beside the one it comes from."""
    return task_id[:_TIME] + uuid5(UUID(task_id), name).hex[_TIME:]


def new_name(task_id: str) -> str:
    """Name a task for people: four words made from its id."""
    return name_of(task_id)


def new_package(
    func: str | Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    task_id: str | None = None,
    name: str | None = None,
    started: datetime | None = None,
    **options: Any,
) -> TaskPackage:
    """Write a task down.

    An option that is None is left out: absent means "as the cluster that runs it does", and
    clusters of the public editions die of an explicit `timeout` of None.
    """
    task_id = task_id or new_id()
    package: TaskPackage = {
        "id": task_id,
        "name": name or new_name(task_id),
        "func": func,
        "args": tuple(args),
        "kwargs": dict(kwargs) if kwargs else {},
    }
    if options:
        _add(options, package)
    package["started"] = started or timezone.now()
    return package


def _add(options: dict[str, Any], package: TaskPackage) -> None:
    for option in PACKED_OPTIONS:
        if (value := options.pop(option, None)) is not None:
            package[option] = value  # type: ignore[literal-required]
    if options:
        unknown = ", ".join(sorted(options))
        raise TypeError(f"not an option of a task: {unknown}. Options are {', '.join(PACKED_OPTIONS)}.")


def take_options(kwargs: dict[str, Any], names: Iterable[str] = TASK_OPTIONS) -> dict[str, Any]:
    """Split the options off the keywords of a call.

    Args:
        kwargs: of the call; the options are taken out of it, its `q_options` is left as it is.
        names: of the options; all of `q_options` are taken for options.
    """
    if not kwargs:
        return {}
    given = kwargs.pop("q_options", None) or {}
    options = dict(given)
    for name in [name for name in kwargs if name in names and name not in given]:
        options[name] = kwargs.pop(name)
    return options


def link_of(link: Any) -> tuple[str | Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Read a link of a chain: a function alone, or with its arguments, or with its keywords too.

    Raises:
        TypeError: it is nothing of the kind.
    """
    func, args, kwargs = link if isinstance(link, (list, tuple)) and len(link) == 3 else (link, (), {})
    if isinstance(link, (list, tuple)) and len(link) in (1, 2):
        func, args = link[0], link[1] if len(link) == 2 else ()
    if isinstance(func, (list, tuple)) or not isinstance(args, (list, tuple)):
        raise TypeError("A link is (function, (arguments,), {keywords}).")
    return func, tuple(args), dict(kwargs or {})


def describe(func: object) -> str:
    """Name a function as its Task shows it: the dotted path where there is one."""
    if type(func) is str:
        return func
    try:
        return _path_of(func) or text_of(func)
    except Exception:  # noqa: BLE001 - the object's own code may raise anything
        return text_of(func)


def _path_of(func: object) -> str | None:
    """Return the dotted path of a function; None if it has none."""
    if isinstance(func, str):
        return str.__str__(func)
    name = getattr(func, "__qualname__", None) or getattr(func, "__name__", None)
    module = getattr(func, "__module__", None)
    owner = getattr(func, "__self__", None)
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}.{getattr(func, '__name__', '')}"
    return f"{module}.{name}" if module and name else None


def waiting_schedule(package: Mapping[str, Any]) -> str | None:
    """Return the id of the schedule without overlap that waits for the end of a task; None if none does."""
    schedule = package.get("schedule")
    return schedule if package.get("waited_for") is True and type(schedule) is str else None


def own_ack_failure(package: Mapping[str, Any]) -> bool | None:
    """What the sender of a task said about acknowledging its failure; None when it said nothing.

    The public editions write their setting into every package, so a False of theirs may be nobody's wish. They write
    `sync` into every package too, which we do not: that tells them from us.
    """
    ack_failure = package.get("ack_failure")
    return None if ack_failure is False and "sync" in package else ack_failure
