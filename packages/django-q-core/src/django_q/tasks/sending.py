"""Sends tasks: `async_task`, `async_bulk`, `AsyncTask`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from django_q.brokers import shared_broker
from django_q.dispatch import send_many
from django_q.settings import current_settings
from django_q.tasks import reading
from django_q.tasks.handle import TaskHandle
from django_q.tasks.routing import Route, chosen_broker
from django_q.wire.building import build_package
from django_q.wire.call_options import with_options
from django_q.wire.option_values import label
from django_q.wire.options import ALL_OPTIONS, OWN_OPTIONS, ROUTE_OPTIONS, read_link, refuse_unknown, take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Unpack

    from django_q.brokers import Broker
    from django_q.models import Task
    from django_q.wire.options import BulkOptions


def _send_task(options: dict[str, Any], func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskHandle:
    """Queue a task with these options. All keywords are arguments of its function."""
    settings, options = current_settings(), dict(options)
    route = Route.take(options, settings)
    package = build_package(func, args, kwargs, options, settings)
    route.send([package])
    handle, cached = TaskHandle(package["id"]), package.get("cached")
    plain = cached is None and route.chosen is None and route.cluster is None
    return handle if plain else handle.sent(cached, route.chosen, route.cluster)


@with_options(_send_task)
def async_task(func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskHandle:
    """Queue a task for a cluster.

    Args:
        func: the function: its dotted path, or the function itself if it can be imported by name.
        *args: its positional arguments.
        **kwargs: its keyword arguments, and these options, which the function does not receive:
            `hook` (dotted path or function that is called with the finished `Task`), `group` (a label), `save` (True to
            save a success independently of the settings), `timeout` (seconds, may be a fraction; None means no limit),
            `ack_failure` (True to acknowledge a failure), `sync` (True to execute it in this process), `cached` (True
            to save the result in the cache, or the time to live in seconds), `broker` (sends the task), `cluster` (name
            of the cluster that executes it), `task_name`, and `q_options`: a dict of options, which take precedence
            over the keywords. A keyword that is also in `q_options` is an argument of the function.

            `q_options` also accepts `priority` (from -100 to 100; of two waiting tasks, that with the greater number is
            executed first), `track` (True to keep a `Record` of the task), `delay` (seconds or a timedelta until its
            earliest execution), `eta` (the time of its earliest execution) and `on_commit` (True to send it when the
            current transaction commits, and not to send it after a rollback; or the alias of a database). True means
            the default database, or if that has no engine, the one with the tasks. As keywords, these are arguments of
            the function.

    `async_task.options(delay=5, …)` accepts the same options, and returns the same call. All keywords of that call are
    arguments of the function: `async_task.options(delay=5)(func, *args, **kwargs)`.

    Returns:
        The id of the task, even if the task is sent later. It is a `str` with methods to follow the task.

    Raises:
        UnsendableTask: the function or an argument cannot be pickled, or belongs to `__main__`.
        OptionError: an option does not exist, is invalid or contradicts another.
        BrokerUnavailable: the task was not queued.
        PackageTooLarge: the package is larger than the broker accepts.

    Source: the manual, 1.4.1 and 1.4.6.
    """
    return _send_task(take(kwargs), func, *args, **kwargs)


async def _asend_task(
    options: dict[str, Any], func: str | Callable[..., Any], /, *args: Any, **kwargs: Any
) -> TaskHandle:
    """Queue a task without blocking the event loop."""
    return await sync_to_async(partial(_send_task, options, func, *args, **kwargs))()


@with_options(_asend_task)
async def aasync_task(func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskHandle:
    """Queue a task like `async_task`, without blocking the event loop."""
    return await _asend_task(take(kwargs), func, *args, **kwargs)


def async_bulk(tasks: Iterable[Any], **options: Unpack[BulkOptions]) -> list[str]:
    """Queue many tasks in as few round trips as the broker allows.

    Args:
        tasks: each is a function, (function, (arguments,)) or (function, (arguments,), {keywords}). The keywords may
            contain options of this task, those of `async_task`.
        **options: options of `async_task` for all tasks, and `delay`, `eta` and `on_commit`.

    Returns:
        The ids, in the order of the tasks.

    Raises:
        UnsendableTask: a function or an argument cannot be pickled; no task was queued.
        OptionError: an option does not exist or is invalid; no task was queued.
        BrokerUnavailable: some tasks may be queued and others not.
    """
    settings, given = current_settings(), dict(options)
    common = take(given, ALL_OPTIONS)
    refuse_unknown(given, ALL_OPTIONS)
    route = Route.take(common, settings)
    packages = []
    for task in tasks:
        func, args, kwargs = read_link(task)
        own = take(kwargs, known=OWN_OPTIONS, misplaced=ROUTE_OPTIONS)
        packages.append(build_package(func, args, kwargs, common | own, settings))
    route.send(packages)
    return [package["id"] for package in packages]


def deliver(signed: str, priority: int = 0) -> None:
    """Queue a package that a Once schedule has stored, because its delay exceeded the maximum of the broker."""
    settings = current_settings()
    send_many((), broker=shared_broker(settings), settings=settings, signed=[signed], priorities=[priority])


class _Option:
    """Attribute of an `AsyncTask` that reads and writes an option in its `q_options` or keywords."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, task: AsyncTask | None, owner: type | None = None) -> Any:
        return self if task is None else task._options().get(self.name)

    def __set__(self, task: AsyncTask, value: Any) -> None:
        task._options()[self.name] = value
        task.started = False


class AsyncTask:
    """Task, with methods that send it and read its result.

    After a change, it has no result until it is run again.

    Args:
        func: the function: its dotted path, or the function itself if it can be imported by name.
        *args: its positional arguments.
        **kwargs: its keyword arguments, and the options of `async_task`.

    Source: the manual, 1.4.2.
    """

    broker = _Option()
    sync = _Option()
    save = _Option()
    hook = _Option()
    group = _Option()
    cached = _Option()
    timeout = _Option()
    ack_failure = _Option()
    cluster = _Option()
    task_name = _Option()

    def __init__(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self.id: str = ""
        self.func = func
        self.args = args
        if isinstance(given := kwargs.get("q_options"), Mapping):
            kwargs["q_options"] = dict(given)
        self.kwargs = kwargs
        self.started = False

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("func", "args", "kwargs"):
            super().__setattr__("started", False)

    def _options(self) -> dict[str, Any]:
        options = self.kwargs.get("q_options")
        return options if isinstance(options, dict) else self.kwargs

    def run(self) -> str:
        """Send the task, and return its id."""
        self.id = async_task(self.func, *self.args, **self.kwargs)
        self.started = True
        return self.id

    def result(self, wait: float = 0) -> Any:
        """Return the result of the task; None if there is none yet. See `result`."""
        if not self.started:
            return None
        if self._is_cached():
            return reading.result_cached(self.id, wait, self._broker())
        return reading.result(self.id, wait, cached=False)

    def fetch(self, wait: float = 0) -> Task | None:
        """Return the finished task; None if it is not finished. See `fetch`."""
        if not self.started:
            return None
        if self._is_cached():
            return reading.fetch_cached(self.id, wait, self._broker())
        return reading.fetch(self.id, wait, cached=False)

    def result_group(self, failures: bool = False, wait: float = 0, count: int | None = None) -> list[Any] | None:
        """Return the results of its group. See `result_group`."""
        if not self.started or not label("group", self.group):
            return None
        if self._is_cached():
            return reading.result_group_cached(self.group, failures, wait, count, self._broker())
        return reading.result_group(self.group, failures, wait, count, cached=False)

    def fetch_group(self, failures: bool = True, wait: float = 0, count: int | None = None) -> Any:
        """Return the finished tasks of its group. See `fetch_group`."""
        if not self.started or not label("group", self.group):
            return None
        if self._is_cached():
            return reading.fetch_group_cached(self.group, failures, wait, count, self._broker())
        return reading.fetch_group(self.group, failures, wait, count, cached=False)

    def _is_cached(self) -> bool:
        return bool(current_settings().cached if self.cached is None else self.cached)

    def _broker(self) -> Broker | None:
        return chosen_broker(self.broker, self.cluster)
