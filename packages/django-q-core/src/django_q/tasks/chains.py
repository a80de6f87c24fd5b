"""Tasks one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.brokers import shared_broker
from django_q.finishing import is_last
from django_q.results.waiting import MISSING, wait_for
from django_q.settings import current_settings
from django_q.tasks import reading
from django_q.tasks.routing import Route, chosen_broker
from django_q.wire.building import build_package
from django_q.wire.ids import new_id
from django_q.wire.option_values import label
from django_q.wire.options import ALL_OPTIONS, checked_link, read_link, refuse_unknown, take
from django_q.wire.package import take_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Unpack

    from django_q.brokers import Broker
    from django_q.models import Task
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
        route.send([build_package(func, args, kwargs, own, settings)])
    return label


class Chain:
    """Tasks that run one after another.

    Args:
        chain: the links: each (function, (arguments,), {keywords}) or less.
        group: the label that all links have.
        cached: keep the results in the cache; None means as the setting `cached` says.
        sync: run them here and now; None means as the setting `sync` says.
        broker: to send the first link through.
        cluster: the name of the cluster to run the links.

    Source: the manual, 1.7.
    """

    def __init__(
        self,
        chain: Iterable[Any] | None = None,
        group: object = None,
        cached: bool | float | None = None,
        sync: bool | None = None,
        broker: Broker | None = None,
        cluster: str | None = None,
    ) -> None:
        self.chain: list[Any] = list(chain) if chain is not None else []
        self.group = label("group", group) or ""
        self.broker = broker
        self.cached = cached
        self.sync = sync
        self.cluster = cluster
        self.started = False

    def append(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> int:
        """Add a link, and return how many there are; if the chain has run, its results are no longer its own."""
        self._forget()
        self.chain.append((func, args, kwargs))
        return self.length()

    def run(self) -> str:
        """Send the first link, and return the id of the group."""
        self._forget()
        self.group = async_chain(
            self.chain, self.group or new_id(), self.cached, self.sync, self.broker, cluster=self.cluster
        )
        self.started = True
        return self.group

    def result(self, wait: float = 0) -> list[Any] | None:
        """Return the results when the chain has ended; if it has stopped, the last one is the text of the failure.

        Args:
            wait: milliseconds to wait for the end; -1, or none at all, waits for ever. When the time is over, what is
                there is returned.
        """
        tasks = self.fetch(wait=wait)
        return None if tasks is None else [task.result for task in tasks]

    def fetch(self, failures: bool = True, wait: float = 0) -> list[Task] | None:
        """Return the finished links when the chain has ended; if it has stopped, the last one failed.

        Args:
            failures: that last one too.
            wait: milliseconds to wait for the end; -1, or none at all, waits for ever. When the time is over, what is
                there is returned.
        """
        if not self.started:
            return None
        wait_for(lambda: self._has_ended() or MISSING, wait or -1)
        tasks = [*(self._tasks() or ())]
        return [task for task in tasks if failures or task.success] or (None if self.chain else [])

    def current(self) -> int | None:
        """Return how many links have finished: the index of the one that runs; None if the chain has not been run."""
        if not self.started:
            return None
        if self._is_cached():
            return reading.count_group_cached(self.group, broker=self._broker())
        return reading.count_group(self.group, cached=False)

    def length(self) -> int:
        """Return how many links there are."""
        return len(self.chain)

    def _forget(self) -> None:
        if self.started:
            if self._is_cached():
                reading.delete_group_cached(self.group, self._broker())
            else:
                reading.delete_group(self.group, cached=False)
        self.started = False

    def _tasks(self) -> Any:
        if self._is_cached():
            return reading.fetch_group_cached(self.group, broker=self._broker())
        return reading.fetch_group(self.group, cached=False)

    def _has_ended(self) -> bool:
        if (self.current() or 0) >= self.length():
            return True
        failed = [(index, task) for index, task in enumerate(self._tasks() or ()) if not task.success]
        return bool(failed) and self._is_final(*failed[0])

    def _is_final(self, index: int, task: Task) -> bool:
        """Whether a failed link is not tried again, as the cluster decides it."""
        if self.sync or (self.sync is None and current_settings().sync):
            return True
        broker = self._broker() or shared_broker(current_settings())
        own = take_options(read_link(self.chain[index])[2]).get("ack_failure") if index < self.length() else None
        return is_last(own, task.attempt_count, settings=broker.settings, broker=broker)

    def _is_cached(self) -> bool:
        return bool(current_settings().cached if self.cached is None else self.cached)

    def _broker(self) -> Broker | None:
        return chosen_broker(self.broker, self.cluster)
