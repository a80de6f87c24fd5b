"""Calls that put tasks on a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_q.brokers import shared_broker
from django_q.conf import current_settings
from django_q.package import SENDING_OPTIONS, TASK_OPTIONS, TaskPackage, link_of, new_package, take_options
from django_q.tasks.checking import refuse_func, refuse_unknown
from django_q.tasks.routing import ROUTE_OPTIONS, Route
from django_q.timeout import NO_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django_q.settings import ClusterSettings

DEFAULTS = (("cached", "cached"), ("ack_failure", "ack_failures"))
"""Options that take the value of a setting when a call does not give them, and only if the setting was given."""

ALL_OPTIONS = (*TASK_OPTIONS, *SENDING_OPTIONS)
"""The keywords of `async_task` that its function does not see."""


def async_task(func: str | Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Queue a task for a cluster.

    Args:
        func: the function to run: its dotted path, or the function itself if it can be imported by name.
        *args: its positional arguments.
        **kwargs: its keyword arguments, and these options, which the function does not see:
            `hook` (dotted path or function called with the finished `Task`), `group` (a label), `save` (whether a
            success is saved, whatever the settings say), `timeout` (seconds, may be a fraction; None for none),
            `ack_failure` (whether a failure is acknowledged), `sync` (run it here and now), `cached` (keep the result
            in the cache; True, or for so many seconds), `broker` (a broker to send it through), `cluster` (the name of
            the cluster to run it), `task_name`, `delay` (seconds, or a timedelta, before it may run), `eta` (the
            moment from which it may run), `on_commit` (send it when the current transaction commits, and not at all
            when it rolls back; True, or the alias of a database), and `q_options`: a dict of the same options, which
            wins over the keywords; a keyword that is also in it goes to the function.

    Returns:
        The id of the task, known even if it is sent later.

    Raises:
        UnsendableTask: the function or an argument cannot be pickled.
        OptionError: there is no such option, or it contradicts another.
        BrokerUnavailable: the task was not queued.
        PackageTooLarge: the broker does not take a package of this size.

    Source: the manual, 1.4.1 and 1.4.6.
    """
    settings = current_settings()
    options = options_of(kwargs)
    route = Route.take(options, settings)
    package = write_down(func, args, kwargs, options, settings)
    route.send([package])
    return package["id"]


async def aasync_task(func: str | Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Do as `async_task` does, without blocking the event loop."""
    return await sync_to_async(async_task)(func, *args, **kwargs)


def async_bulk(tasks: Iterable[Any], **options: Any) -> list[str]:
    """Queue many tasks in as few round trips as the broker allows.

    Args:
        tasks: each a function, or (function, (arguments,)), or (function, (arguments,), {keywords}); the keywords may
            hold options of that one task, as with `async_task`.
        **options: of all tasks, as `async_task` takes them.

    Returns:
        The ids, in the order of the tasks.

    Raises:
        UnsendableTask: a function or an argument cannot be pickled; no task was queued.
        OptionError: there is no such option; no task was queued.
        BrokerUnavailable: some tasks may be queued and others not.
    """
    settings = current_settings()
    common = options_of(options)
    refuse_unknown(options, ALL_OPTIONS)
    route = Route.take(common, settings)
    packages = []
    for task in tasks:
        func, args, kwargs = read_link(task)
        own = take_options(kwargs)
        refuse_unknown(own, TASK_OPTIONS, ROUTE_OPTIONS)
        packages.append(write_down(func, args, kwargs, common | own, settings))
    route.send(packages)
    return [package["id"] for package in packages]


def options_of(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Split all options off the keywords of a call.

    Raises:
        OptionError: `q_options` hold something that is no option.
    """
    given = kwargs.get("q_options")
    if given:
        refuse_unknown(given, ALL_OPTIONS)
    return take_options(kwargs, ALL_OPTIONS)


def write_down(
    func: str | Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    settings: ClusterSettings,
) -> TaskPackage:
    """Make a package, with the options that the settings say for all tasks."""
    refuse_func(func)
    for option, setting in DEFAULTS:
        if option not in options and getattr(settings, setting):
            options[option] = getattr(settings, setting)
    if "timeout" in options and options["timeout"] is None:
        options["timeout"] = NO_TIMEOUT
    return new_package(func, args, kwargs, name=options.pop("task_name", None), **options)


def read_link(link: Any) -> tuple[str | Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Read one of many tasks.

    Raises:
        UnsendableTask: it is not written as a task is.
    """
    from django_q.exceptions import UnsendableTask

    try:
        return link_of(link)
    except (ValueError, TypeError) as error:
        raise UnsendableTask(f"A task is (function, (arguments,), {{keywords}}), not {link!r}.") from error


def deliver(signed: str) -> None:
    """Queue a package that a schedule has kept; what runs when a broker cannot wait for so long."""
    shared_broker(current_settings()).enqueue(signed)
