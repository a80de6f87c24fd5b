"""Tasks one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.conf import current_settings
from django_q.package import SENDING_OPTIONS, TASK_OPTIONS, new_id, take_options
from django_q.tasks.checking import refuse_func, refuse_unknown
from django_q.tasks.routing import Route
from django_q.tasks.sending import read_link, write_down

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_q.brokers import Broker

ELSEWHERE = ("broker", "cluster", "sync")
"""What a link cannot say, because a chain runs in one place."""

WHOLE = ("group", "cached", "chain")
"""What a link may say, but the chain decides."""


def async_chain(
    chain: Iterable[Any],
    group: str | None = None,
    cached: bool | float | None = None,
    sync: bool | None = None,
    broker: Broker | None = None,
    *,
    cluster: str | None = None,
    **options: Any,
) -> str:
    """Queue tasks of which each is sent when the one before it has succeeded.

    A link that fails is tried again as a task of its own would be; when its attempts are used up, the chain stops
    there. The results, the last one that failure, are those of the group.

    Args:
        chain: the links: each (function, (arguments,), {keywords}) or less; the keywords may hold options of a task.
        group: the label that all links have.
        cached: keep the results in the cache; None means as the setting `cached` says.
        sync: run them here and now; None means as the setting `sync` says.
        broker: to send the first link through.
        cluster: the name of the cluster to run the links.
        **options: of all links, as `async_task` takes them; `delay`, `eta` and `on_commit` concern the first.

    Returns:
        The id of the group.

    Raises:
        UnsendableTask: a function or an argument of any link cannot be pickled; nothing was sent.
        OptionError: there is no such option.

    Source: the manual, 1.7.
    """
    settings = current_settings()
    refuse_unknown(options, (*TASK_OPTIONS, *SENDING_OPTIONS))
    sending = {name: options.pop(name) for name in SENDING_OPTIONS if name in options}
    route = Route.take(sending | {"sync": sync, "broker": broker, "cluster": cluster}, settings)
    group = group or new_id()
    links = [_checked(each, options) for each in chain]
    if links:
        (func, args, kwargs), *rest = links
        own = take_options(kwargs) | {"group": group, "cluster": cluster, "chain": rest or None}
        own["cached"] = settings.cached if cached is None else cached
        route.send([write_down(func, args, kwargs, own, settings)])
    return group


def _checked(link: Any, common: dict[str, Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Read a link, and write into its keywords what all links have in common."""
    func, args, kwargs = read_link(link)
    refuse_func(func)
    own = take_options(kwargs)
    refuse_unknown(own, TASK_OPTIONS, ELSEWHERE)
    kept = {name: value for name, value in (common | own).items() if name not in WHOLE}
    return func, args, kwargs | ({"q_options": kept} if kept else {})
