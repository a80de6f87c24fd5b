"""Tasks one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.conf import current_settings
from django_q.tasks.routing import Route
from django_q.wire.building import write_down
from django_q.wire.ids import new_id
from django_q.wire.options import ALL_OPTIONS, checked_link, refuse_unknown, take

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Unpack

    from django_q.brokers import Broker
    from django_q.wire.options import ChainOptions

WHOLE = ("group", "cached", "chain", "cluster")
"""Options that the chain decides for its links."""


def async_chain(
    chain: Iterable[Any],
    group: object = None,
    cached: bool | float | None = None,
    sync: bool | None = None,
    broker: Broker | None = None,
    *,
    cluster: str | None = None,
    **options: Unpack[ChainOptions],
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
        **options: of all links, those of `async_task`; and `delay`, `eta` and `on_commit`, which concern the first.

    Returns:
        The id of the group.

    Raises:
        UnsendableTask: a function or an argument of any link cannot be pickled; nothing was sent.
        OptionError: an option does not exist or is invalid; nothing was sent.

    Source: the manual, 1.7.
    """
    settings = current_settings()
    whole = {"group": group, "cached": cached, "sync": sync, "broker": broker, "cluster": cluster}
    given = {**options, **{name: value for name, value in whole.items() if value is not None}}
    common = take(given, ALL_OPTIONS)
    refuse_unknown(given, ALL_OPTIONS)
    route = Route.take(common, settings)
    label = common.get("group") or new_id()
    links = [checked_link(each, common, WHOLE) for each in chain]
    if links:
        (func, args, kwargs), *rest = links
        own = kwargs.pop("q_options", {}) | {"group": label, "cluster": common.get("cluster"), "chain": rest or None}
        own["cached"] = settings.cached if common.get("cached") is None else common["cached"]
        route.send([write_down(func, args, kwargs, own, settings)])
    return label
