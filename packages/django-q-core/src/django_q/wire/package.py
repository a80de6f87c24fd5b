"""A task on paper: the plain dict that is signed and waits in a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

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
"""The keywords that tell Django Q about a task, and are not given to its function."""

TASK_OPTIONS = (*OPTIONS, "task_name")
"""All that a call may say about its task."""

PACKED_OPTIONS = tuple(option for option in OPTIONS if option != "broker")
"""The options that travel: a broker is where the package goes, not what it says."""


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


def is_member(iter_count: object, group: object) -> bool:
    """Return True if a task with these options belongs to an iter: its group is the iter's id."""
    counts = isinstance(iter_count, int) and 0 < iter_count <= MAX_MEMBERS
    return counts and isinstance(group, str) and is_id(group)


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


INHERITED = ("group", "cached", "cluster")
"""What the links of a chain have in common."""


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
