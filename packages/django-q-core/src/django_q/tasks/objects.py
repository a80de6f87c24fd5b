"""Tasks, iterables and chains as objects that know their results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from django_q.brokers import broker_of, shared_broker
from django_q.conf import current_settings
from django_q.finishing import is_last
from django_q.results.waiting import MISSING, wait_for
from django_q.tasks import reading
from django_q.tasks.chains import async_chain
from django_q.tasks.iterables import async_iter
from django_q.tasks.sending import async_task
from django_q.wire.ids import new_id
from django_q.wire.option_values import label, queue_name
from django_q.wire.options import read_link
from django_q.wire.package import take_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django_q.brokers import Broker
    from django_q.models import Task

PATIENCE: Final = 5_000
"""Milliseconds that `Iter.result()` waits when it is not told how long, as the manual's example needs."""


class _Option:
    """An option of an `AsyncTask`, kept where its caller keeps options."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, task: AsyncTask | None, owner: type | None = None) -> Any:
        return self if task is None else task._options().get(self.name)

    def __set__(self, task: AsyncTask, value: Any) -> None:
        task._options()[self.name] = value
        task.started = False


class AsyncTask:
    """A task, with the calls that send it and ask for its result.

    To change anything after it was run takes its result away, until it is run again.

    Args:
        func: the function to run: its dotted path, or the function itself if it can be imported by name.
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
        """Send it, and return its id."""
        self.id = async_task(self.func, *self.args, **self.kwargs)
        self.started = True
        return self.id

    def result(self, wait: float = 0) -> Any:
        """Return its result, or None as long as it has none; see `result`."""
        if not self.started:
            return None
        if self._is_cached():
            return reading.result_cached(self.id, wait, self._broker())
        return reading.result(self.id, wait, cached=False)

    def fetch(self, wait: float = 0) -> Task | None:
        """Return the finished task; see `fetch`."""
        if not self.started:
            return None
        if self._is_cached():
            return reading.fetch_cached(self.id, wait, self._broker())
        return reading.fetch(self.id, wait, cached=False)

    def result_group(self, failures: bool = False, wait: float = 0, count: int | None = None) -> list[Any] | None:
        """Return the results of its group; see `result_group`."""
        if not self.started or not label("group", self.group):
            return None
        if self._is_cached():
            return reading.result_group_cached(self.group, failures, wait, count, self._broker())
        return reading.result_group(self.group, failures, wait, count, cached=False)

    def fetch_group(self, failures: bool = True, wait: float = 0, count: int | None = None) -> Any:
        """Return the finished tasks of its group; see `fetch_group`."""
        if not self.started or not label("group", self.group):
            return None
        if self._is_cached():
            return reading.fetch_group_cached(self.group, failures, wait, count, self._broker())
        return reading.fetch_group(self.group, failures, wait, count, cached=False)

    def _is_cached(self) -> bool:
        return bool(current_settings().cached if self.cached is None else self.cached)

    def _broker(self) -> Broker | None:
        return _chosen(self.broker, self.cluster)


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
        return bool(cached), _chosen(self.broker or options.get("broker"), options.get("cluster"))


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
        return _chosen(self.broker, self.cluster)


def _chosen(broker: Broker | None, cluster: object) -> Broker | None:
    """Return the broker whose queue's key begins the keys in the cache; None for that of the settings."""
    cluster = queue_name("cluster", cluster)
    if broker is not None or not cluster or cluster == current_settings().list_key:
        return broker
    return broker_of(cluster)
