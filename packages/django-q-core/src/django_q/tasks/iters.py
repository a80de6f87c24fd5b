"""One function, many arguments, one result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django_q.exceptions import OptionError
from django_q.functions import describe
from django_q.inline import run_iter_inline
from django_q.settings import current_settings
from django_q.tasks import reading
from django_q.tasks.builder import with_options
from django_q.tasks.routing import Route, chosen_broker
from django_q.wire.building import build_package
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
"""Options that an iter accepts; `callback` in `q_options` and `options()` only."""

MEANINGLESS = ("hook", "chain", "iter_count", "iter_cached")
"""Options that an iter ignores, or sets itself."""


def _send_iter(
    options: dict[str, Any], func: str | Callable[..., Any], /, args_iter: Iterable[Any], **kwargs: Any
) -> str:
    """Queue an iter with these options; all keywords are its function's."""
    settings, options = current_settings(), dict(options)
    route = Route.take(options, settings)
    for name in MEANINGLESS:
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

    The results wait in the database until all are there. They are then a list in the order of the arguments: the result
    of one task, in the database or, if *cached*, in the cache. A member that has failed is in it with the text of its
    failure, and makes the whole a failure, like one that was lost.

    Args:
        func: the function to run: its dotted path, or the function itself if it can be imported by name.
        args_iter: an iterable, which may be a generator or empty: tuples of arguments, or single arguments.
        **kwargs: keyword arguments of the function, the same each time, and the options of `async_task` but `hook`.

    `async_iter.options(delay=5, …)` takes the same options, as `async_task.options` does, and `callback`: a dotted path
    or a function that is called with the finished `Task` of the whole, like a hook. `q_options` takes it, too.

    Returns:
        The id of the task that has the list as its result.

    Source: the manual, 1.6.
    """
    return _send_iter(take(kwargs, known=ITER_OPTIONS), func, args_iter, **kwargs)


PATIENCE: Final = 5_000
"""Milliseconds that `Iter.result()` waits when it is not told how long, as the manual's example needs."""


class Iter:
    """A function and the many arguments it is run with.

    Args:
        func: the function to run.
        args: an iterable of arguments.
        kwargs: its keyword arguments, and the options of `async_task`.
        cached: keep the result in the cache; None means as the setting `cached` says.
        sync: run it here and now; None means as the setting `sync` says.
        broker: to send it through.

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
        """Add the arguments of one more run, and return how many there are."""
        self.args.append(args)
        self.started = False
        return self.length()

    def run(self) -> str:
        """Send it, and return the id of its result."""
        own = {"cached": self.cached, "sync": self.sync, "broker": self.broker}
        said = {name: value for name, value in own.items() if value is not None}
        kwargs = dict(self.kwargs)
        if isinstance(given := kwargs.get("q_options"), Mapping):
            kwargs["q_options"] = {**given, **said}
        else:
            kwargs |= said
        self.id = async_iter(self.func or "", self.args, **kwargs)
        self.started = True
        return self.id

    def result(self, wait: float | None = None) -> list[Any] | None:
        """Return the results in the order of the arguments.

        Args:
            wait: milliseconds to wait for them; -1 waits for ever, 0 not at all. Left out, it is up to five seconds.
        """
        if not self.started:
            return None
        wait, (cached, broker) = PATIENCE if wait is None else wait, self._place()
        return reading.result_cached(self.id, wait, broker) if cached else reading.result(self.id, wait, cached=False)

    def fetch(self, wait: float | None = None) -> Task | None:
        """Return the finished task that has the results; waits as `result` does."""
        if not self.started:
            return None
        wait, (cached, broker) = PATIENCE if wait is None else wait, self._place()
        return reading.fetch_cached(self.id, wait, broker) if cached else reading.fetch(self.id, wait, cached=False)

    def length(self) -> int:
        """Return how many arguments there are."""
        return len(self.args)

    def _place(self) -> tuple[bool, Broker | None]:
        """Where the result will be."""
        options = take_options(dict(self.kwargs))
        cached = options.get("cached") if self.cached is None else self.cached
        cached = current_settings().cached if cached is None else cached
        return bool(cached), chosen_broker(self.broker or options.get("broker"), options.get("cluster"))
