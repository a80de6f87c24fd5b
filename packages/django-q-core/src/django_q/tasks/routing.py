"""Determines the broker, the time and the mode in which packages are sent."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections, router, transaction

from django_q import tracing
from django_q.arguments import write_args, write_kwargs
from django_q.brokers import broker_of, shared_broker
from django_q.caches.sharing import warn_if_private
from django_q.clock import in_project_time
from django_q.dispatch import announced, send_many
from django_q.exceptions import OptionError
from django_q.inline import run_inline
from django_q.models import Schedule, Task
from django_q.records.creating import record_tracked
from django_q.settings import ClusterSettings, current_settings
from django_q.text import truncated
from django_q.wire.codec import PackageCodec
from django_q.wire.option_values import queue_name
from django_q.wire.validation import copy_of, pickled, refuse_main

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from django_q.brokers import Broker
    from django_q.execution import Executor
    from django_q.wire.package import TaskPackage

EMPTY_ENGINE = "django.db.backends.dummy"
"""Engine that Django sets for a database without one."""

DELIVER_FUNC = "django_q.tasks.sending.deliver"
"""Function of a Once schedule that stores a package whose delay exceeds the maximum of the broker."""


def is_cached(package: TaskPackage) -> bool:
    """Return True if the result goes to the cache. The database keeps members of an iter."""
    return bool(package.get("iter_cached" if "iter_count" in package else "cached"))


class Route(NamedTuple):
    """Broker, time and mode of one call that sends packages."""

    settings: ClusterSettings
    """Settings of the calling process."""
    cluster: str | None = None
    """Name of the target cluster; None means that of the settings."""
    chosen: Broker | None = None
    """Broker that the caller passed; None means that of the target cluster."""
    sync: bool = False
    """True to execute the tasks in this process."""
    due: datetime | None = None
    """Earliest time of the execution; None means now."""
    on_commit: str | None = None
    """Alias of the database whose transaction must commit first; None means no wait."""

    @classmethod
    def take(cls, options: dict[str, Any], settings: ClusterSettings) -> Route:
        """Remove the routing options from the valid options of a call, and return them as a route.

        Raises:
            OptionError: `delay` and `eta` are both given.
        """
        if not options and not settings.on_commit:
            return cls(settings, sync=bool(settings.sync))
        sync, on_commit = options.pop("sync", None), options.pop("on_commit", None)
        on_commit = settings.on_commit if on_commit is None else on_commit
        return cls(
            settings=settings,
            cluster=options.get("cluster"),
            chosen=options.pop("broker", None),
            sync=bool(settings.sync if sync is None else sync),
            due=due(options.pop("delay", None), options.pop("eta", None)),
            on_commit=default_database() if on_commit is True else on_commit or None,
        )

    def send(
        self,
        packages: Sequence[TaskPackage],
        *,
        inline: Callable[[Sequence[TaskPackage]], Executor] | None = None,
        within: Callable[[Broker, float], AbstractContextManager[None]] | None = None,
    ) -> None:
        """Send packages now, or when the transaction commits. In sync mode, execute them instead.

        They are pickled at once, so later changes of the arguments have no effect. In sync mode, the tasks receive the
        copy that a worker would receive.

        Args:
            packages: the tasks.
            inline: executes them in sync mode; None means one after another.
            within: returns a context manager for the sending, given the broker and the delay in seconds.

        Raises:
            UnsendableTask: a task cannot be pickled, or belongs to `__main__`; none was sent.
            BrokerUnavailable: some tasks may be queued and others not.
        """
        packages = [announced(package) for package in packages]
        if self.due is not None:
            for package in packages:
                package["run_after"] = self.due.astimezone(UTC)
        if not self.sync and any(map(is_cached, packages)):
            warn_if_private(self.settings.cache)
        with tracing.sending(packages, self.cluster or self.settings.list_key, self.settings):
            pickles = [pickled(package) for package in packages]
            work = self._inline(packages, pickles, inline) if self.sync else self._queue(packages, pickles, within)
            if self.on_commit is None:
                work()
            else:
                transaction.on_commit(work, using=self.on_commit)

    def _inline(
        self,
        packages: Sequence[TaskPackage],
        pickles: Sequence[bytes],
        inline: Callable[[Sequence[TaskPackage]], Executor] | None,
    ) -> Callable[[], None]:
        """Return a function that executes the packages in this process."""
        copies = [copy_of(package, data) for package, data in zip(packages, pickles, strict=True)]
        return partial(self._run, copies, inline)

    def _queue(
        self,
        packages: Sequence[TaskPackage],
        pickles: Sequence[bytes],
        within: Callable[[Broker, float], AbstractContextManager[None]] | None,
    ) -> Callable[[], None]:
        """Return a function that enqueues the packages."""
        codec = PackageCodec.of(self.settings)
        for package, data in zip(packages, pickles, strict=True):
            refuse_main(package, data)
        return partial(self._deliver, packages, [codec.sign(data) for data in pickles], within)

    def _run(self, packages: Sequence[TaskPackage], inline: Callable[[Sequence[TaskPackage]], Executor] | None) -> None:
        if inline:
            errors = [inline(packages).exception]
        else:
            errors = [run_inline(each, settings=self.settings).exception for each in packages]
        error = next((each for each in errors if each is not None), None)
        if error is not None and self.settings.sync_raises:
            raise error

    @property
    def broker(self) -> Broker:
        """Broker of the target queue."""
        return self.chosen or shared_broker(self._target(), self.cluster)

    def _target(self) -> ClusterSettings:
        """Return the settings of the target cluster."""
        if self.cluster and self.cluster != self.settings.list_key:
            return ClusterSettings.from_django(self.cluster)
        return self.settings

    def _deliver(
        self,
        packages: Sequence[TaskPackage],
        signed: Sequence[str],
        within: Callable[[Broker, float], AbstractContextManager[None]] | None,
    ) -> None:
        broker = self.broker
        seconds = 0.0 if self.due is None else max((self.due - datetime.now(UTC)).total_seconds(), 0.0)
        with within(broker, seconds) if within else nullcontext():
            if seconds > broker.supports_delay:
                self._schedule(broker, packages, signed)
            else:
                send_many(packages, broker=broker, settings=self.settings, delay=seconds, signed=signed)

    def _schedule(self, broker: Broker, packages: Sequence[TaskPackage], signed: Sequence[str]) -> None:
        """Store packages in Once schedules, because the delay exceeds the maximum of the broker."""
        target = self._target()
        if broker.list_key != shared_broker(target, self.cluster).list_key:
            raise OptionError(
                f"{broker!r} does not support such a long delay, and a schedule sends to clusters only: pass "
                "cluster='its name' instead of broker=."
            )
        moment = self.due and in_project_time(self.due)
        record_tracked(packages, target.list_key, moment)
        cluster = None if target.is_default_cluster else target.list_key
        for package, text in zip(packages, signed, strict=True):
            options = {"save": False, "task_name": truncated(f"deliver {package['name']}", 100)}
            Schedule.objects.create(
                func=DELIVER_FUNC,
                args=write_args((text, priority) if (priority := package.get("priority")) else (text,)),
                kwargs=write_kwargs({"q_options": options}),
                schedule_type=Schedule.ONCE,
                repeats=-1,
                next_run=moment,
                cluster=cluster,
            )


def default_database() -> str | None:
    """Return the database for whose transaction `on_commit=True` waits.

    Returns:
        The alias of the default database. If that has no engine, that of the tasks; None if that has none, too.
    """
    if connections.settings[DEFAULT_DB_ALIAS]["ENGINE"] != EMPTY_ENGINE:
        return DEFAULT_DB_ALIAS
    alias = router.db_for_write(Task)
    return alias if connections.settings[alias]["ENGINE"] != EMPTY_ENGINE else None


def due(delay: float | None, eta: datetime | None) -> datetime | None:
    """Return the earliest time of the execution; None means now.

    Args:
        delay: seconds from now.
        eta: the time.

    Raises:
        OptionError: both are given.
    """
    if delay is not None and eta is not None:
        raise OptionError("delay and eta exclude each other: pass one of them.")
    return eta if eta is not None else datetime.now(UTC) + timedelta(seconds=delay) if delay else None


def chosen_broker(broker: Broker | None, cluster: object) -> Broker | None:
    """Return the broker whose queue is the prefix of keys in the cache; None means that of the settings."""
    cluster = queue_name("cluster", cluster)
    if broker is not None or not cluster or cluster == current_settings().list_key:
        return broker
    return broker_of(cluster)
