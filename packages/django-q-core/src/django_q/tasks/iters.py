"""Sends iters: one function with many arguments, whose results are collated."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django_q.exceptions import OptionError
from django_q.functions import describe
from django_q.inline import run_iter_inline
from django_q.settings import current_settings
from django_q.tasks import reading
from django_q.tasks.routing import Route, chosen_broker
from django_q.wire.building import build_package
from django_q.wire.call_options import with_options
from django_q.wire.ids import member_id, new_id
from django_q.wire.options import ALL_OPTIONS, WHOLE_OPTIONS, checked_func, take
from django_q.wire.package import MAX_MEMBERS, take_options
from django_q.workflows.batch_opening import completed_at_once, opened
from django_q.workflows.batch_rows import new_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django_q.brokers import Broker
    from django_q.models import Task
    from django_q.wire.package import TaskPackage

ITER_OPTIONS = (*ALL_OPTIONS, "callback")
"""Options that an iter accepts. `callback` is accepted only in `q_options` and `options()`."""

IGNORED_OPTIONS = ("hook", "chain", "iter_count", "iter_cached")
"""Options that an iter ignores, or sets itself."""


def _send_iter(
    options: dict[str, Any], func: str | Callable[..., Any], /, args_iter: Iterable[Any], **kwargs: Any
) -> str:
    """Queue an iter with these options. All keywords are arguments of its function."""
    settings, options = current_settings(), dict(options)
    route = Route.take(options, settings)
    for name in IGNORED_OPTIONS:
        options.pop(name, None)
    iter_id, cached = new_id(), options.pop("cached", None)
    cached = settings.cached if cached is None else cached
    whole = {name: value for name in WHOLE_OPTIONS if (value := options.pop(name, None)) is not None}
    each_args = [each if isinstance(each, tuple) else (each,) for each in args_iter]
    if "callback" in whole:
        whole["callback"] = describe(checked_func(whole["callback"]))
    if (count := len(each_args)) > MAX_MEMBERS:
        raise OptionError(f"An iter has at most {MAX_MEMBERS:,} members, not {count:,}: divide the arguments.")
    shared = options | {"cached": True, "group": iter_id, "iter_count": count, "iter_cached": cached or None}

    def member(index: int, args: tuple[Any, ...]) -> TaskPackage:
        package = build_package(func, args, kwargs, shared | {"task_id": member_id(iter_id, index)}, settings)
        if whole:
            package["iter_options"] = whole
        return package

    first, *others = [member(index, args) for index, args in enumerate(each_args or [()])]
    packages = [first, *others] if each_args else []
    batch = new_batch(
        iter_id,
        count,
        func=describe(first["func"]),
        cached=cached,
        options=whole,
        started=first["started"],
        cluster=None,
        queue=None,
        due=first["started"],
    )
    route.send(
        packages,
        inline=lambda copies: run_iter_inline(copies, batch, settings=settings),
        within=partial(opened if packages else completed_at_once, batch),
    )
    return iter_id


@with_options(_send_iter, ITER_OPTIONS)
def async_iter(func: str | Callable[..., Any], /, args_iter: Iterable[Any], **kwargs: Any) -> str:
    """Queue a function once for each of many arguments, and collate the results into one list.

    The results of the members are kept in the database until all are final. Then they become the result of one task, a
    list in the order of the arguments. It is saved in the database or, if *cached*, in the cache. If a member fails or
    is lost, the list contains the text of the failure in its place, and the collated task is a failure.

    Args:
        func: the function: its dotted path, or the function itself if it can be imported by name.
        args_iter: tuples of arguments, or single arguments. The iterable may be a generator, or empty.
        **kwargs: keyword arguments of each call, and the options of `async_task` except `hook`.

    `async_iter.options(delay=5, …)` accepts the same options, like `async_task.options`, and `callback`: a dotted path
    or a function that is called with the collated `Task`, like a hook. `q_options` accepts it, too.

    Returns:
        The id of the collated task.

    Raises:
        UnsendableTask: the function or an argument cannot be pickled; nothing was sent.
        OptionError: an option does not exist or is invalid, or there are too many arguments; nothing was sent.
        BrokerUnavailable: some members may be queued and others not.

    Source: the manual, 1.6.
    """
    return _send_iter(take(kwargs, known=ITER_OPTIONS), func, args_iter, **kwargs)


DEFAULT_WAIT_MILLISECONDS: Final = 5_000
"""Default of `wait` in `Iter.result()`, which the manual's example needs."""


class Iter:
    """Iter, with methods that send it and read its result.

    Args:
        func: the function.
        args: tuples of arguments, or single arguments.
        kwargs: keyword arguments of each call, and the options of `async_task`.
        cached: save the result in the cache; None means as the setting `cached` says.
        sync: execute the members in this process; None means as the setting `sync` says.
        broker: sends the members; None means that of the cluster.

    Source: the manual, 1.6.
    """

    def __init__(
        self,
        func: str | Callable[..., Any] | None = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        cached: bool | float | None = None,
        sync: bool | None = None,
        broker: Broker | None = None,
    ) -> None:
        self.func = func
        self.args: list[Any] = list(args) if args is not None else []
        self.kwargs: dict[str, Any] = dict(kwargs) if kwargs else {}
        self.id = ""
        self.broker = broker
        self.cached = cached
        self.sync = sync
        self.started = False

    def append(self, *args: Any) -> int:
        """Add the arguments of one call, and return the number of calls."""
        self.args.append(args)
        self.started = False
        return self.length()

    def run(self) -> str:
        """Send the members, and return the id of the collated task."""
        own = {"cached": self.cached, "sync": self.sync, "broker": self.broker}
        options = {name: value for name, value in own.items() if value is not None}
        kwargs = dict(self.kwargs)
        if isinstance(given := kwargs.get("q_options"), Mapping):
            kwargs["q_options"] = {**given, **options}
        else:
            kwargs |= options
        self.id = async_iter(self.func or "", self.args, **kwargs)
        self.started = True
        return self.id

    def result(self, wait: float | None = None) -> list[Any] | None:
        """Return the results in the order of the arguments; None if the iter is not finished.

        Args:
            wait: milliseconds to wait; -1 means no limit, 0 reads once. The default is 5,000.
        """
        if not self.started:
            return None
        wait, (cached, broker) = DEFAULT_WAIT_MILLISECONDS if wait is None else wait, self._place()
        return reading.result_cached(self.id, wait, broker) if cached else reading.result(self.id, wait, cached=False)

    def fetch(self, wait: float | None = None) -> Task | None:
        """Return the collated task; None if the iter is not finished. *wait* is that of `result`."""
        if not self.started:
            return None
        wait, (cached, broker) = DEFAULT_WAIT_MILLISECONDS if wait is None else wait, self._place()
        return reading.fetch_cached(self.id, wait, broker) if cached else reading.fetch(self.id, wait, cached=False)

    def length(self) -> int:
        """Return the number of calls."""
        return len(self.args)

    def _place(self) -> tuple[bool, Broker | None]:
        """Return True if the result is saved in the cache, and the broker that determines its key."""
        options = take_options(dict(self.kwargs))
        cached = options.get("cached") if self.cached is None else self.cached
        cached = current_settings().cached if cached is None else cached
        return bool(cached), chosen_broker(self.broker or options.get("broker"), options.get("cluster"))
