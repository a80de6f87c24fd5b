"""The package of a task: the dict that is signed and queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard

from django.utils import timezone

from django_q.wire.ids import is_id, new_id, new_name

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
"""Keywords of `async_task` that are options of the task, not arguments of its function."""

TASK_OPTIONS = (*OPTIONS, "task_name")
"""All options of a task that are plain keywords."""

BUILDER_OPTIONS = ("priority", "track")
"""Options of a task that are no plain keywords, because the manual does not name them.

They are accepted in `q_options` and `options()` only, so that functions keep their keyword arguments."""

PACKED_OPTIONS = (*(option for option in OPTIONS if option != "broker"), *BUILDER_OPTIONS)
"""Options that a package contains: all but the broker, through which it is sent."""


class TaskPackage(TypedDict, total=False):
    """Package of a task, in the format of all editions of Django Q.

    `id` to `started` are always present. Options are present if they are set; `result`, `success`, `stopped` and
    `attempt_count` after the execution. `chain_started` is the time at which the first link of a chain was sent.
    `trace` is the W3C context of the span that sent the task. `backend` is the alias of the back end of `django.tasks`
    that sent the task, and `run_after` its earliest execution, if it is delayed.
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
    priority: int
    track: bool
    chain_started: datetime
    backend: str
    run_after: datetime
    trace: dict[str, str]

    ack_id: Any
    result: Any
    success: bool
    stopped: datetime
    attempt_count: int


MAX_MEMBERS = 1_000_000
"""Maximum number of members of an iter. A task with a larger `iter_count` does not belong to one."""


def is_member(iter_count: object, group: object) -> bool:
    """Return True if a task with these options belongs to an iter. Its group is then the iter's id."""
    counts = isinstance(iter_count, int) and 0 < iter_count <= MAX_MEMBERS
    return counts and isinstance(group, str) and is_id(group)


FINISHED_KEYS = frozenset({"id", "name", "func", "started", "stopped", "success"})
"""Keys of each finished task. A package that waits for its execution lacks the last two."""


def is_finished(value: object) -> TypeGuard[TaskPackage]:
    """Return True if an unpickled value is a finished task."""
    return isinstance(value, dict) and value.keys() >= FINISHED_KEYS


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
    """Create a package.

    An option that is None is omitted, so that the settings of the executing cluster apply. An explicit `timeout` of
    None ends clusters of the public editions.

    Args:
        func: the function, or its dotted path.
        args: its positional arguments.
        kwargs: its keyword arguments.
        task_id: id of the task; None for a new one.
        name: name of the task; None for four words.
        started: time at which the task is sent; None for the present.
        **options: options of the task, of `PACKED_OPTIONS`.

    Raises:
        TypeError: an option does not exist.
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
        kwargs: keywords of the call; the options are removed from it, its `q_options` is not changed.
        names: names of the options that are plain keywords; `q_options` contains options only.
    """
    if not kwargs:
        return {}
    given = kwargs.pop("q_options", None) or {}
    options = dict(given)
    for name in [name for name in kwargs if name in names and name not in given]:
        options[name] = kwargs.pop(name)
    return options


def waiting_schedule(package: Mapping[str, Any]) -> str | None:
    """Return the id of the schedule without overlap that waits for the end of a task; None if none does."""
    schedule = package.get("schedule")
    return schedule if package.get("waited_for") is True and type(schedule) is str else None


def own_ack_failure(package: Mapping[str, Any]) -> bool | None:
    """Return the sender's own `ack_failure` of a task, or None.

    The public editions write their setting into each package, so that their False may not be a choice of the sender.
    They also write `sync` into each package, by which they are recognised.
    """
    ack_failure = package.get("ack_failure")
    return None if ack_failure is False and "sync" in package else ack_failure


INHERITED_OPTIONS = ("group", "cached", "cluster", *BUILDER_OPTIONS)
"""Options that a link of a chain inherits from the one before it."""


def link_of(link: Any) -> tuple[str | Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return function, arguments and keywords of a link of a chain.

    Args:
        link: a function, (function, (arguments,)) or (function, (arguments,), {keywords}).

    Raises:
        TypeError: *link* has another form.
    """
    func, args, kwargs = link if isinstance(link, (list, tuple)) and len(link) == 3 else (link, (), {})
    if isinstance(link, (list, tuple)) and len(link) in (1, 2):
        func, args = link[0], link[1] if len(link) == 2 else ()
    if isinstance(func, (list, tuple)) or not isinstance(args, (list, tuple)):
        raise TypeError("A link is (function, (arguments,), {keywords}).")
    return func, tuple(args), dict(kwargs or {})
