"""Sends chains: tasks of which each is sent when the previous one has succeeded."""

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

CHAIN_OPTIONS = ("group", "cached", "chain", "cluster")
"""Options that the chain sets for all its links."""


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
    """Queue tasks of which each is sent when the previous one has succeeded.

    A link that fails has the same attempts as any other task. After its last attempt, the chain stops. The results of
    all links are those of the group, and the last one may be that failure.

    Args:
        chain: the links. Each is (function, (arguments,), {keywords}), of which the arguments and the keywords may be
            omitted. The keywords may contain options of `async_task`.
        group: label of all links; None creates one.
        cached: save the results in the cache; None means as the setting `cached` says.
        sync: execute the links in this process; None means as the setting `sync` says.
        broker: sends the first link; None means that of the cluster.
        cluster: name of the cluster that executes the links; None means that of the settings.
        **options: options of `async_task` for all links, and `delay`, `eta` and `on_commit` for the first link.

    Returns:
        The label of the group.

    Raises:
        UnsendableTask: a function or an argument of a link cannot be pickled; nothing was sent.
        OptionError: an option does not exist or is invalid; nothing was sent.
        BrokerUnavailable: the first link was not queued.

    Source: the manual, 1.7.
    """
    settings = current_settings()
    whole = {"group": group, "cached": cached, "sync": sync, "broker": broker, "cluster": cluster}
    given = {**options, **{name: value for name, value in whole.items() if value is not None}}
    common = take(given, ALL_OPTIONS)
    refuse_unknown(given, ALL_OPTIONS)
    route = Route.take(common, settings)
    group_label = common.get("group") or new_id()
    links = [checked_link(each, common, CHAIN_OPTIONS) for each in chain]
    if links:
        (func, args, kwargs), *rest = links
        own = kwargs.pop("q_options", {}) | {
            "group": group_label,
            "cluster": common.get("cluster"),
            "chain": rest or None,
        }
        own["cached"] = settings.cached if common.get("cached") is None else common["cached"]
        route.send([build_package(func, args, kwargs, own, settings)])
    return group_label


class Chain:
    """Chain of tasks, with methods that send it and read its results.

    Args:
        chain: the links, as for `async_chain`.
        group: label of all links; None creates one.
        cached: save the results in the cache; None means as the setting `cached` says.
        sync: execute the links in this process; None means as the setting `sync` says.
        broker: sends the first link; None means that of the cluster.
        cluster: name of the cluster that executes the links; None means that of the settings.

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
        """Add a link, and return the number of links. If the chain was run, its results are deleted."""
        self._forget()
        self.chain.append((func, args, kwargs))
        return self.length()

    def run(self) -> str:
        """Send the first link, and return the label of the group."""
        self._forget()
        self.group = async_chain(
            self.chain, self.group or new_id(), self.cached, self.sync, self.broker, cluster=self.cluster
        )
        self.started = True
        return self.group

    def result(self, wait: float = 0) -> list[Any] | None:
        """Return the results when the chain has ended. If it stopped, the last one is the text of the failure.

        Args:
            wait: milliseconds to wait for the end; -1 or 0 means no limit. When the time is over, the results so far
                are returned.

        Returns:
            The results; None if there are none, or if the chain was not run.
        """
        tasks = self.fetch(wait=wait)
        return None if tasks is None else [task.result for task in tasks]

    def fetch(self, failures: bool = True, wait: float = 0) -> list[Task] | None:
        """Return the finished links when the chain has ended. If it stopped, the last one failed.

        Args:
            failures: include that failed link.
            wait: milliseconds to wait for the end; -1 or 0 means no limit. When the time is over, the links finished so
                far are returned.

        Returns:
            The finished links; None if there are none, or if the chain was not run.
        """
        if not self.started:
            return None
        wait_for(lambda: self._has_ended() or MISSING, wait or -1)
        tasks = [*(self._tasks() or ())]
        return [task for task in tasks if failures or task.success] or (None if self.chain else [])

    def current(self) -> int | None:
        """Return the number of finished links, which is the index of the current one; None if the chain was not run."""
        if not self.started:
            return None
        if self._is_cached():
            return reading.count_group_cached(self.group, broker=self._broker())
        return reading.count_group(self.group, cached=False)

    def length(self) -> int:
        """Return the number of links."""
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
        """Return True if no attempt of a failed link follows, by the rules of the cluster."""
        if self.sync or (self.sync is None and current_settings().sync):
            return True
        broker = self._broker() or shared_broker(current_settings())
        own = take_options(read_link(self.chain[index])[2]).get("ack_failure") if index < self.length() else None
        return is_last(own, task.attempt_count, settings=broker.settings, broker=broker)

    def _is_cached(self) -> bool:
        return bool(current_settings().cached if self.cached is None else self.cached)

    def _broker(self) -> Broker | None:
        return chosen_broker(self.broker, self.cluster)
