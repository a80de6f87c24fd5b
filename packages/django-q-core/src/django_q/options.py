"""Options of a task: validates and normalises them for every sender, reader and worker."""

from __future__ import annotations

import operator
import reprlib
from collections import UserString
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sized
from datetime import datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast
from uuid import UUID

from django.db import connections
from django.utils import timezone
from django.utils.functional import Promise

from django_q.exceptions import DjangoQError, OptionError, UnreadablePackage, UnsendableTask
from django_q.package import TASK_OPTIONS, TaskPackage, describe, link_of, take_options
from django_q.text import one_line, storable, truncated, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_q.brokers import Broker

SENDING_OPTIONS: Final = ("delay", "eta", "on_commit")
"""Options that say when a task is sent. `async_task` accepts them in `q_options` and `options()` only."""

ALL_OPTIONS: Final = (*TASK_OPTIONS, *SENDING_OPTIONS)
"""All options of a call that sends tasks."""

ROUTE_OPTIONS: Final = ("broker", "cluster", "sync", *SENDING_OPTIONS)
"""Options that a call has once for all its tasks."""

SCHEDULE_OPTIONS: Final = (*TASK_OPTIONS, "broker_name")
"""All options of a schedule's tasks."""

LINK_OPTIONS: Final = tuple(name for name in TASK_OPTIONS if name != "broker")
"""Options of a link that travel with it."""

LABEL_CHARACTERS: Final = 100
"""Maximum length of a label: the columns `group`, `name` and `cluster`."""

PATH_CHARACTERS: Final = 256
"""Maximum length of a dotted path: the columns `func` and `hook`."""

ID_CHARACTERS: Final = 32
"""Maximum length of a task's id: the primary key."""

NO_TIMEOUT: Final = 100_000_000
"""Seconds, three years: how a package says "none" in a way that clusters of the public editions survive."""

MAX_SECONDS: Final = 100 * 366 * 86_400
"""Maximum of options that are numbers of seconds: one hundred years."""

MAX_COUNT: Final = 1_000_000_000
"""Maximum of options that count tasks."""

MAX_VALUE_CHARACTERS: Final = 100
"""Maximum length of an invalid value in an error message."""

LABEL: Final = "a label: text, or a single value with a text form, such as a number, a UUID or an enum"
SECONDS: Final = "a number of seconds from 0 to one hundred years"


class TaskOptions(TypedDict, total=False):
    """Options of a task that the manual names: plain keywords of `async_task`, too."""

    hook: str | Callable[..., Any] | None
    """Function that is called with the finished `Task`: dotted path, or the function itself."""
    group: object
    """Label that the task shares with others."""
    save: bool | None
    """True if a success is saved, whatever the settings say."""
    sync: bool | None
    """True to run the task in this process, before the call returns."""
    cached: float | None
    """True to keep the result in the cache; a number of seconds to keep it for so long."""
    ack_failure: bool | None
    """True if a failure is acknowledged and not tried again."""
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

    delay: float | timedelta | None
    """Seconds before the task may run."""
    eta: datetime | None
    """Moment from which the task may run."""
    on_commit: bool | str | None
    """True to send the task when the transaction commits; or the alias of the transaction's database."""


class ChainOptions(TypedDict, total=False):
    """Options of all links of a chain."""

    hook: str | Callable[..., Any] | None
    save: bool | None
    ack_failure: bool | None
    timeout: float | None
    task_name: object
    delay: float | timedelta | None
    eta: datetime | None
    on_commit: bool | str | None
    q_options: Mapping[str, Any] | None


class BulkOptions(SendOptions, total=False):
    """Options of all tasks that are sent together."""

    q_options: Mapping[str, Any] | None


# one value


def invalid(name: str, value: object, expected: str) -> OptionError:
    """Return the error that names an option, its value and the expected type."""
    kind = type_name(value)
    return OptionError(f"{name} is {shown(value)} ({kind}): give {expected}.")


def shown(value: object) -> str:
    """Return the representation of any object as a short printable line."""
    try:
        text = _short.repr(value)
    except BaseException:  # noqa: BLE001 - the value's own code may raise anything
        text = f"<unprintable {type_name(value)}>"
    return one_line(text, MAX_VALUE_CHARACTERS)


_short = reprlib.Repr()
_short.maxstring = _short.maxother = MAX_VALUE_CHARACTERS


def label(name: str, value: object, length: int = LABEL_CHARACTERS) -> str | None:
    """Return the text form of a label.

    A text that is too long is truncated and ends with a mark. Characters that no database can store are replaced.

    Args:
        name: of the option, for the error.
        value: anything with a text form; None stays None.
        length: maximum number of characters.

    Raises:
        OptionError: the value is a container, or has no text form.
    """
    if type(value) is str and len(value) <= length and value.isascii() and "\0" not in value:
        return value
    return None if value is None else truncated(_text(name, value, LABEL), length)


def required_label(name: str, value: object, length: int = LABEL_CHARACTERS) -> str:
    """Return the text form of a label that must be given, as the reading functions need it.

    Raises:
        OptionError: the value is None or a container, or has no text form.
    """
    text = label(name, value, length)
    if text is None:
        raise invalid(name, value, LABEL)
    return text


def lookups(task_id: object) -> list[tuple[str, str]]:
    """Return where a task is looked for: pairs of a column and its value, in order.

    Args:
        task_id: its id or its name; a UUID is either.

    Raises:
        OptionError: it is None or a container, or has no text form.
    """
    text = required_label("task_id", task_id)
    if isinstance(task_id, UUID):
        return [("pk", task_id.hex), ("name", text)]
    return [("pk", text), ("name", text)] if len(text) == ID_CHARACTERS else [("name", text)]


def queue_name(name: str, value: object) -> str | None:
    """Return the text form of a queue's name, or None for the default queue.

    Raises:
        OptionError: the value has no text form, is too long, or has characters that cannot be stored.
    """
    expected = f"the name of a cluster, of at most {LABEL_CHARACTERS} characters"
    text = None if value is None else _text(name, value, expected)
    if text and (len(text) > LABEL_CHARACTERS or storable(text) != text):
        raise invalid(name, value, expected)
    return text or None


def seconds(name: str, value: object) -> float | None:
    """Return a number of seconds as a plain number; None stays None.

    Raises:
        OptionError: the value is no number, negative, not finite or too large.
    """
    if value is None:
        return None
    number = _number(name, value, SECONDS)
    if not 0 <= number <= MAX_SECONDS:
        raise invalid(name, value, SECONDS)
    return number


def milliseconds(name: str, value: object) -> float:
    """Return a number of milliseconds as a plain number; a negative one means for ever.

    Raises:
        OptionError: the value is no number, or NaN.
    """
    expected = "a number of milliseconds, -1 for ever"
    number = _number(name, value, expected)
    if number != number:
        raise invalid(name, value, expected)
    return number


def duration(name: str, value: object) -> float | None:
    """Return a number of seconds, or a timedelta, as seconds; None stays None.

    Raises:
        OptionError: the value is neither, or negative, not finite or too large.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    try:
        return seconds(name, number)
    except OptionError as error:
        raise invalid(name, value, f"{SECONDS}, or a timedelta") from error


def count(name: str, value: object) -> int | None:
    """Return a number of tasks; None stays None.

    Raises:
        OptionError: the value is no whole number, negative or too large.
    """
    if value is None:
        return None
    expected = "a whole number, 0 or more"
    number = _number(name, value, expected)
    if not 0 <= number <= MAX_COUNT or number != int(number):
        raise invalid(name, value, expected)
    return int(number)


def required_count(name: str, value: object) -> int:
    """Return a number of tasks that must be given.

    Raises:
        OptionError: the value is no whole number, negative or too large.
    """
    number = count(name, value)
    if number is None:
        raise invalid(name, value, "a whole number, 0 or more")
    return number


def flag(name: str, value: object) -> bool | None:
    """Return a truth value; None stays None.

    Raises:
        OptionError: the value is not True, False, 1 or 0.
    """
    if value is None or value is True or value is False:
        return value
    if _is_numpy_bool(value) or (isinstance(value, Integral) and value in (0, 1)):
        return bool(value)
    raise invalid(name, value, "True or False")


def flag_or_seconds(name: str, value: object) -> float | None:
    """Return a truth value, or a number of seconds; None stays None.

    Raises:
        OptionError: the value is neither.
    """
    if value is None or value is True or value is False:
        return value
    if _is_numpy_bool(value):
        return bool(value)
    try:
        return seconds(name, value)
    except OptionError as error:
        raise invalid(name, value, f"True, False or {SECONDS}") from error


def function(name: str, value: object) -> str | Callable[..., Any] | None:
    """Return a dotted path or a callable; None and empty text are None.

    Raises:
        OptionError: the value is neither, or the path cannot be stored.
    """
    if value is None or (callable(value) and not isinstance(value, str)):
        return cast("Callable[..., Any] | None", value)
    if not isinstance(value, str) or not is_path(path := str.__str__(value)):
        raise invalid(name, value, "a function, or its dotted path")
    return path or None


def is_path(text: str) -> bool:
    """Return True if a text may be the dotted path of a function."""
    return len(text) <= PATH_CHARACTERS and storable(text) == text and text == text.strip()


def links(name: str, value: object) -> list[Any] | None:
    """Return the links of a chain, each as (function, (arguments,), {keywords}) with valid options; None stays None.

    Raises:
        OptionError: the value is no list, or a link has an invalid option.
        UnsendableTask: a link has no function that can be imported.
    """
    given = link_list(name, value)
    return None if given is None else [checked_link(each) for each in given]


def link_list(name: str, value: object) -> list[Any] | None:
    """Return a list of links, without looking into them; None stays None.

    Raises:
        OptionError: the value is no list.
    """
    if value is None or isinstance(value, list):
        return value
    if isinstance(value, tuple):
        return list(value)
    raise invalid(name, value, "a list of links: (function, (arguments,), {keywords})")


def broker(name: str, value: object) -> Broker | None:
    """Return a broker; None stays None.

    Raises:
        OptionError: the value has no `enqueue`.
    """
    if value is not None and not callable(getattr(value, "enqueue", None)):
        raise invalid(name, value, "a broker, as get_broker() returns it")
    return cast("Broker | None", value)


def moment(name: str, value: object) -> datetime | None:
    """Return an aware datetime; None stays None.

    Raises:
        OptionError: the value is no datetime, or too far in the future.
    """
    if value is None:
        return None
    expected = "a datetime within the next hundred years, or delay in seconds"
    try:
        aware = value if timezone.is_aware(value) else timezone.make_aware(value)  # type: ignore[arg-type]
        if isinstance(aware, datetime) and aware.timestamp() <= timezone.now().timestamp() + MAX_SECONDS:
            return aware
    except Exception as error:  # OverflowError, and whatever its time zone raises
        raise invalid(name, value, expected) from error
    raise invalid(name, value, expected)


def database(name: str, value: object) -> bool | str | None:
    """Return a truth value, or the alias of a database; None stays None.

    Raises:
        OptionError: the value is neither.
    """
    if isinstance(value, str) and (alias := str.__str__(value)) in connections.settings:
        return alias
    try:
        return flag(name, value)
    except OptionError as error:
        raise invalid(name, value, "True, False or the alias of a database") from error


def _text(name: str, value: object, expected: str) -> str:
    """Return the text form of a single value: of a text, its characters."""
    try:
        if isinstance(value, str):
            return str.__str__(value)
        has_text = isinstance(value, (Promise, UserString)) or not isinstance(value, (Sized, Iterator, Awaitable))
        text = str.__str__(str(value)) if has_text else ""
    except BaseException as error:  # the value's own code may raise anything
        raise invalid(name, value, expected) from error
    # An address is no text form: it is another one in each process.
    if not has_text or f"0x{id(value):x}" in text.lower():
        raise invalid(name, value, expected)
    return text


def _number(name: str, value: object, expected: str) -> float:
    """Return a plain number, which may be out of range or NaN."""
    if type(value) is int or type(value) is float:
        return value
    try:
        if isinstance(value, Integral) and not isinstance(value, bool):
            return operator.index(value)
        if isinstance(value, (Real, Decimal)) and not isinstance(value, bool):
            return float(value)
    except Exception as error:  # OverflowError, ValueError, and whatever the value's own code raises
        raise invalid(name, value, expected) from error
    raise invalid(name, value, expected)


def _is_numpy_bool(value: object) -> bool:
    kind = type(value)
    return kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_")


# all options of a call

Rule = Callable[[str, Any], Any]

RULES: Final[Mapping[str, Rule]] = {
    "ack_failure": flag,
    "broker": broker,
    "broker_name": queue_name,
    "cached": flag_or_seconds,
    "chain": links,
    "cluster": queue_name,
    "delay": duration,
    "eta": moment,
    "group": label,
    "hook": function,
    "iter_cached": flag_or_seconds,
    "iter_count": count,
    "on_commit": database,
    "save": flag,
    "sync": flag,
    "task_name": label,
    "timeout": seconds,
}
"""The rule of each option."""


def normalised(name: str, value: object, rules: Mapping[str, Rule] = RULES) -> Any:
    """Return the normal value of one option, by its rule.

    Raises:
        OptionError: the value is invalid.
    """
    try:
        return rules[name](name, value)
    except DjangoQError:
        raise
    except Exception as error:  # the value's own code may raise anything when its type is asked for
        raise invalid(name, value, "another value: this one cannot be read") from error


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
        kwargs: of the call; the options are removed from it, its `q_options` is left as it is.
        keywords: names of the options that are taken from the keywords.
        known: names of the options that are accepted, also in `q_options`.
        misplaced: names of options that belong to the whole call.

    Raises:
        OptionError: an option does not exist, is misplaced, or its value is invalid.
    """
    if not kwargs:
        return {}
    given = kwargs.get("q_options")
    if given is not None and not isinstance(given, Mapping):
        raise invalid("q_options", given, "a dict of options")
    options = take_options(kwargs, keywords)
    for name in misplaced:
        if name in options:
            raise OptionError(f"{name!r} is said once for all tasks, not for one of them: give it to the whole call.")
    return validated(options, known)


def normalise_keywords(kwargs: Mapping[str, Any], known: Sequence[str] = SCHEDULE_OPTIONS) -> dict[str, Any]:
    """Return the keywords of a schedule with valid options, each where it was.

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
    """Return a function as its dotted path, and everything else as it is."""
    return describe(value) if callable(value) and getattr(value, "__qualname__", None) else value


def refuse_unknown(given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse options that do not exist.

    Raises:
        OptionError: names the most similar option.
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
        common: options of all links; those of the link win.
        without: names of options that have no meaning in a link.

    Raises:
        OptionError: an option of the link is invalid.
        UnsendableTask: it is no link, or its function cannot be imported.
    """
    func, args, kwargs = read_link(link)
    refuse_func(func)
    own = take(kwargs, known=TASK_OPTIONS, misplaced=ROUTE_OPTIONS)
    options = {name: value for name, value in {**(common or {}), **own}.items() if name not in without}
    return func, args, kwargs | ({"q_options": options} if options else {})


def read_link(link: Any) -> tuple[str | Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return function, arguments and keywords of a link.

    Raises:
        UnsendableTask: it is no link.
    """
    try:
        return link_of(link)
    except (ValueError, TypeError) as error:
        raise UnsendableTask(f"A task is (function, (arguments,), {{keywords}}), not {shown(link)}.") from error


def refuse_func(func: object) -> None:
    """Refuse what can never be a task's function.

    A dotted path is not imported: the sender of a task need not have its code.

    Raises:
        UnsendableTask: it is neither a dotted path nor callable, or no other process can import it.
    """
    if isinstance(func, str):
        if not func.strip():
            raise UnsendableTask("A task needs a function: give its dotted path, or the function itself.")
        if not is_path(func.strip()):
            raise UnsendableTask(f"{shown(func)} is not the dotted path of a function: it is too long or unprintable.")
        return
    if not callable(func):
        raise UnsendableTask(f"{shown(func)} is a {type_name(func)}: give a function, or its dotted path.")
    name = getattr(func, "__qualname__", "")
    if isinstance(name, str) and (name.endswith("<lambda>") or "<locals>" in name):
        kind = "a lambda" if name.endswith("<lambda>") else "defined inside another function"
        raise UnsendableTask(f"{describe(func)} is {kind}, so a cluster cannot import it: define it in a module.")


# the worker


def link_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Split the options off the keywords of a link that another edition may have written, and normalise them.

    Impossible values stay as they are: `normalise_package` refuses them when the link's own package arrives.

    Args:
        kwargs: of the link; the options are removed from it.

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
    """Return a package with normal options, whichever edition sent it: the same object if nothing has to change.

    Raises:
        OptionError: an option has an impossible value. Its `package` is the package without the invalid options,
            for the record of the failure.
        UnreadablePackage: the task has no id.
    """
    changes: dict[str, Any] = {}
    error: OptionError | None = None
    for name, value in package.items():
        if name not in PACKAGE_RULES:
            continue
        try:
            normal = normalised(name, value, PACKAGE_RULES)
        except OptionError as why:
            error, normal = error or why, None
        if normal is not value:
            changes[name] = normal
    if "started" not in package:
        changes["started"] = timezone.now()
    if not changes:
        return package
    whole: dict[str, Any] = {**package, **changes}
    normal_package = {name: value for name, value in whole.items() if value is not None or name not in changes}
    normal_package.setdefault("name", package["id"])
    if error is not None:
        error.package = cast("TaskPackage", normal_package)
        raise error
    return cast("TaskPackage", normal_package)


def task_id(name: str, value: object) -> str:
    """Return the id of a package.

    Raises:
        UnreadablePackage: it cannot be the id of a task.
    """
    if type(value) is str and 0 < len(value) <= ID_CHARACTERS and value.isascii() and value.isprintable():
        return value
    raise UnreadablePackage(f"A package whose id is {shown(value)}: it was not made by async_task().")


def sent_at(name: str, value: object) -> datetime:
    """Return when a task was sent; the present if the package does not say it."""
    return value if isinstance(value, datetime) else timezone.now()


def iter_options(name: str, value: object) -> dict[str, Any] | None:
    """Return the options of an iter's result, as its members carry them.

    Raises:
        OptionError: one of them is invalid.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise invalid(name, value, "a dict of options")
    normal = {each: normalised(each, value[each]) for each in ("task_name", "group", "save") if each in value}
    return value if normal == value and isinstance(value, dict) else normal


PACKAGE_RULES: Final[Mapping[str, Rule]] = {
    name: rule for name, rule in RULES.items() if name not in (*SENDING_OPTIONS, "broker", "broker_name", "task_name")
} | {
    "chain": link_list,
    "id": task_id,
    "iter_options": iter_options,
    "name": label,
    "schedule": label,
    "started": sent_at,
}
"""The rule of each key of a package. Links are validated when their own packages arrive."""
