"""One function, many arguments, one result."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django_q.conf import current_settings
from django_q.exceptions import OptionError
from django_q.functions import describe
from django_q.inline import run_iter_inline
from django_q.tasks.builder import with_options
from django_q.tasks.routing import Route
from django_q.wire.building import write_down
from django_q.wire.ids import member_id, new_id
from django_q.wire.options import ALL_OPTIONS, WHOLE_OPTIONS, checked_func, take
from django_q.wire.package import MAX_MEMBERS
from django_q.workflows.batch_opening import completed_at_once, opened
from django_q.workflows.batch_rows import new_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        package = write_down(func, args, kwargs, shared | {"task_id": member_id(iter_id, index)}, settings)
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
