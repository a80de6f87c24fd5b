"""Validates and normalises the options of a task, for senders, readers and workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

from django_q import clock
from django_q.exceptions import DjangoQError, OptionError, UnreadablePackage, UnsendableTask
from django_q.functions import describe
from django_q.text import type_name
from django_q.wire.option_values import (
    ID_CHARACTERS,
    broker,
    count,
    database,
    duration,
    flag,
    flag_or_seconds,
    function,
    invalid,
    is_path,
    label,
    link_list,
    moment,
    priority,
    queue_name,
    seconds,
    shown,
)
from django_q.wire.package import BUILDER_OPTIONS, TASK_OPTIONS, TaskPackage, link_of, take_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from django_q.brokers import Broker

SENDING_OPTIONS: Final = ("delay", "eta", "on_commit")
"""Options with the time at which a task is sent. `async_task` accepts them in `q_options` and `options()` only."""

OWN_OPTIONS: Final = (*TASK_OPTIONS, *BUILDER_OPTIONS)
"""All options of one of several tasks that are sent together."""

ALL_OPTIONS: Final = (*OWN_OPTIONS, *SENDING_OPTIONS)
"""All options of a call that sends tasks."""

ROUTE_OPTIONS: Final = ("broker", "cluster", "sync", *SENDING_OPTIONS)
"""Options that a call has once, for all its tasks."""

SCHEDULE_OPTIONS: Final = (*OWN_OPTIONS, "broker_name")
"""All options of a schedule's tasks."""

WHOLE_OPTIONS: Final = ("callback", "group", "save", "task_name")
"""Options of an iter's result, which the packages of its members contain."""

LINK_OPTIONS: Final = tuple(name for name in OWN_OPTIONS if name != "broker")
"""Options of a link that its package contains."""

NO_TIMEOUT: Final = 100_000_000
"""Timeout in seconds, three years, that a package without time limit has: None ends clusters of the public editions."""


class TaskOptions(TypedDict, total=False):
    """Options of a task that the manual names. They are also plain keywords of `async_task`."""

    hook: str | Callable[..., Any] | None
    """Function that is called with the finished `Task`: dotted path, or the function itself."""
    group: object
    """Label that the task shares with others."""
    save: bool | None
    """True to save a success, False not to; None leaves it to the settings."""
    sync: bool | None
    """True to execute the task in this process, before the call returns."""
    cached: float | None
    """True to keep the result in the cache, or the number of seconds for which it is kept."""
    ack_failure: bool | None
    """True to acknowledge a failure, so that there is no further attempt."""
    iter_count: int | None
    iter_cached: float | None
    chain: Sequence[Any] | None
    """Links that follow the task."""
    broker: Broker | None
    """Broker that the task is sent through."""
    timeout: float | None
    """Seconds that the task may run; None for no limit."""
    cluster: str | None
    """Name of the cluster that runs the task."""
    task_name: object
    """Name of the task, instead of four words."""


class SendOptions(TaskOptions, total=False):
    """All options of a call that sends tasks."""

    priority: int | None
    """Priority from -100 to 100; of two waiting tasks, that with the greater number runs first. The default is 0."""
    track: bool | None
    """True to keep a `Record` of the task from the moment it is sent; None leaves it to the settings."""
    delay: float | timedelta | None
    """Seconds before the task may run."""
    eta: datetime | None
    """Time from which the task may run."""
    on_commit: bool | str | None
    """True to send the task when the transaction commits, or the alias of the transaction's database."""


class ChainOptions(TypedDict, total=False):
    """Options of all links of a chain."""

    hook: str | Callable[..., Any] | None
    save: bool | None
    ack_failure: bool | None
    timeout: float | None
    task_name: object
    priority: int | None
    track: bool | None
    delay: float | timedelta | None
    eta: datetime | None
    on_commit: bool | str | None
    q_options: Mapping[str, Any] | None


class BulkOptions(SendOptions, total=False):
    """Options of all tasks that are sent together."""

    q_options: Mapping[str, Any] | None


# all options of a call


def links(name: str, value: object) -> list[Any] | None:
    """Return the links of a chain, each as (function, (arguments,), {keywords}) with valid options; None stays None.

    Raises:
        OptionError: the value is no list, or a link has an invalid option.
        UnsendableTask: a link has no function that can be imported.
    """
    given = link_list(name, value)
    return None if given is None else [checked_link(each) for each in given]


def option_dict(name: str, value: object) -> Mapping[str, Any] | None:
    """Return a dict of options without validating it; None stays None.

    Raises:
        OptionError: the value is no dict.
    """
    if value is None or isinstance(value, Mapping):
        return value
    raise invalid(name, value, "a dict of options")


Rule = Callable[[str, Any], Any]

OPTION_RULES: Final[Mapping[str, Rule]] = {
    "ack_failure": flag,
    "broker": broker,
    "broker_name": queue_name,
    "cached": flag_or_seconds,
    "callback": function,
    "chain": links,
    "cluster": queue_name,
    "delay": duration,
    "eta": moment,
    "group": label,
    "hook": function,
    "iter_cached": flag_or_seconds,
    "iter_count": count,
    "on_commit": database,
    "priority": priority,
    "q_options": option_dict,
    "save": flag,
    "sync": flag,
    "task_name": label,
    "timeout": seconds,
    "track": flag,
}
"""Rule of each option, by name. A rule is called with the name and the value, and returns the normal value."""


def normalised(name: str, value: object) -> Any:
    """Return the normal value of one option, by its rule.

    Raises:
        OptionError: the value is invalid.
    """
    try:
        return OPTION_RULES[name](name, value)
    except (DjangoQError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the value's own code may raise anything when its type is asked for
        raise _option_error(name, value, error) from error


def _option_error(name: str, value: object, error: BaseException) -> OptionError:
    return error if isinstance(error, OptionError) else invalid(name, value, "another value: this one cannot be read")


def validated(options: Mapping[str, Any], known: Sequence[str] = ALL_OPTIONS) -> dict[str, Any]:
    """Return options with normal values.

    Args:
        options: the options; None as `timeout` becomes `NO_TIMEOUT`.
        known: names of the options that are accepted.

    Raises:
        OptionError: an option does not exist, or its value is invalid.
    """
    if not options:
        return {}
    refuse_unknown(options, known)
    normal = {name: normalised(name, value) for name, value in options.items()}
    if "timeout" in normal and normal["timeout"] is None:
        normal["timeout"] = NO_TIMEOUT
    return normal


def take(
    kwargs: dict[str, Any],
    keywords: Iterable[str] = TASK_OPTIONS,
    *,
    known: Sequence[str] = ALL_OPTIONS,
    misplaced: Iterable[str] = (),
) -> dict[str, Any]:
    """Split the options off the keywords of a call, and validate them.

    Args:
        kwargs: keywords of the call; the options are removed from it, its `q_options` is not changed.
        keywords: names of the options that are taken from the keywords.
        known: names of the options that are accepted, also in `q_options`.
        misplaced: names of options that belong to the whole call.

    Raises:
        OptionError: an option does not exist, is misplaced, or its value is invalid.
    """
    if not kwargs:
        return {}
    normalised("q_options", kwargs.get("q_options"))
    options = take_options(kwargs, keywords)
    for name in misplaced:
        if name in options:
            raise OptionError(f"{name!r} is an option of all tasks together, not of one: give it to the whole call.")
    return validated(options, known)


def normalise_keywords(kwargs: Mapping[str, Any], known: Sequence[str] = SCHEDULE_OPTIONS) -> dict[str, Any]:
    """Return the keywords of a schedule with normal options, each in its original place.

    Raises:
        OptionError: an option does not exist, or its value is invalid.
    """
    options = take(dict(kwargs), known=known)
    given = kwargs.get("q_options") or {}
    normal = {name: _written(options[name]) for name in options}
    normal |= {name: value for name, value in {**kwargs, **given}.items() if value is None and name in normal}
    beside = {name: value if name in given else normal.get(name, value) for name, value in kwargs.items()}
    return beside | ({"q_options": {name: normal[name] for name in given}} if given else {})


def _written(value: Any) -> Any:
    """Return the dotted path of a function, and any other value unchanged."""
    return describe(value) if callable(value) and getattr(value, "__qualname__", None) else value


def refuse_unknown(given: Iterable[str], known: Sequence[str]) -> None:
    """Check that all options exist.

    Raises:
        OptionError: one does not; the message names the most similar option.
    """
    for name in given:
        if name not in known:
            close = get_close_matches(shown(name).strip("'"), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}."
            raise OptionError(f"{shown(name)} is not an option of a task: {hint}")


def checked_link(
    link: Any, common: Mapping[str, Any] | None = None, without: Sequence[str] = ()
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a link of a chain in full, with its valid options in `q_options`.

    Args:
        link: (function, (arguments,), {keywords}) or less.
        common: options of all links; the options of the link override them.
        without: names of options that have no meaning in a link.

    Raises:
        OptionError: an option of the link is invalid.
        UnsendableTask: *link* is no link, or its function cannot be imported.
    """
    func, args, kwargs = read_link(link)
    func = checked_func(func)
    own = take(kwargs, known=OWN_OPTIONS, misplaced=ROUTE_OPTIONS)
    options = {name: value for name, value in {**(common or {}), **own}.items() if name not in without}
    return func, args, kwargs | ({"q_options": options} if options else {})


def read_link(link: Any) -> tuple[str | Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return function, arguments and keywords of a link.

    Raises:
        UnsendableTask: *link* is no link.
    """
    try:
        return link_of(link)
    except (ValueError, TypeError) as error:
        raise UnsendableTask(f"A task is (function, (arguments,), {{keywords}}), not {shown(link)}.") from error


def checked_func(func: object) -> str | Callable[..., Any]:
    """Return a task's function: the dotted path as plain text, or the callable.

    A dotted path is not imported: the sender of a task need not have its code.

    Raises:
        UnsendableTask: *func* is neither a dotted path nor callable, or no other process can import it.
    """
    if isinstance(func, str):
        path = str.__str__(func)
        if not path.strip():
            raise UnsendableTask("A task needs a function: give its dotted path, or the function itself.")
        if not is_path(path.strip()):
            raise UnsendableTask(f"{shown(path)} is not the dotted path of a function: it is too long or unprintable.")
        return path
    if not callable(func):
        raise UnsendableTask(f"{shown(func)} is a {type_name(func)}: give a function, or its dotted path.")
    name = getattr(func, "__qualname__", "")
    if isinstance(name, str) and (name.endswith("<lambda>") or "<locals>" in name):
        kind = "a lambda" if name.endswith("<lambda>") else "defined inside another function"
        raise UnsendableTask(f"{describe(func)} is {kind}, so a cluster cannot import it: define it in a module.")
    return func


# the worker


def link_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Split the options off the keywords of a link that another edition may have written, and normalise them.

    Invalid values stay: `normalise_package` rejects them when the link's own package arrives.

    Args:
        kwargs: keywords of the link; the options are removed from it.

    Raises:
        OptionError: its `q_options` are no dict.
    """
    if not isinstance(given := kwargs.get("q_options") or {}, Mapping):
        raise invalid("q_options", given, "a dict of options")
    options = take_options(kwargs)
    return {name: _possible(name, value) for name, value in options.items() if name in LINK_OPTIONS}


def _possible(name: str, value: Any) -> Any:
    try:
        normal = normalised(name, value)
    except DjangoQError:
        return value
    return NO_TIMEOUT if name == "timeout" and normal is None else normal


def normalise_package(package: TaskPackage) -> TaskPackage:
    """Return a package of any edition with normal options: the same object if nothing has to change.

    Raises:
        OptionError: an option has an invalid value. `package` of the error is the package without the invalid options,
            with which the failure is saved.
        UnreadablePackage: the task has no id.
    """
    changes: dict[str, Any] = {}
    error: OptionError | None = None
    for name, value in package.items():
        rule = PACKAGE_RULES.get(name)
        if rule is None:
            continue
        try:
            normal = rule(name, value)
        except UnreadablePackage:
            raise
        except Exception as why:  # noqa: BLE001 - the value's own code may raise anything when its type is asked for
            error, normal = error or _option_error(name, value, why), None
        if normal is not value:
            changes[name] = normal
    if not changes and "started" in package:
        return package
    whole: dict[str, Any] = {"started": clock.now(), **package, **changes}
    normal_package = {name: value for name, value in whole.items() if value is not None or name not in changes}
    normal_package.setdefault("name", package["id"])
    if error is not None:
        error.package = cast("TaskPackage", normal_package)
        raise error
    return cast("TaskPackage", normal_package)


def task_id(name: str, value: object) -> str:
    """Return the id of a package.

    Raises:
        UnreadablePackage: the value cannot be the id of a task.
    """
    if type(value) is str and 0 < len(value) <= ID_CHARACTERS and value.isascii() and value.isprintable():
        return value
    raise UnreadablePackage(f"A package whose id is {shown(value)}: it was not made by async_task().")


def plain_path(name: str, value: object) -> object:
    """Return a dotted path as plain text, and any other function unchanged."""
    return str.__str__(value) if isinstance(value, str) else value


def sent_at(name: str, value: object) -> datetime:
    """Return the time at which a task was sent; the present if *value* is no time."""
    return clock.sent_at(value) if issubclass(type(value), datetime) else clock.now()


def iter_options(name: str, value: object) -> dict[str, Any] | None:
    """Return the options of an iter's result, which its members contain.

    Raises:
        OptionError: one of them is invalid.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise invalid(name, value, "a dict of options")
    normal = {each: normalised(each, value[each]) for each in WHOLE_OPTIONS if each in value}
    return value if normal == value and isinstance(value, dict) else normal


PACKAGE_RULES: Final[Mapping[str, Rule]] = {
    **{name: OPTION_RULES[name] for name in LINK_OPTIONS if name != "task_name"},
    "backend": label,
    "chain": link_list,
    "func": plain_path,
    "id": task_id,
    "iter_options": iter_options,
    "name": label,
    "run_after": moment,
    "schedule": label,
    "started": sent_at,
}
"""Rule of each key of a package. Links are validated when their own packages arrive."""
