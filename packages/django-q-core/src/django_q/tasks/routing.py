"""Where, when and how packages are sent."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections, router, transaction

from django_q.arguments import write_args, write_kwargs
from django_q.brokers import broker_of, shared_broker
from django_q.clock import in_project_time
from django_q.dispatch import announced, send_many
from django_q.exceptions import OptionError
from django_q.inline import run_inline
from django_q.models import Schedule, Task
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
"""The engine that Django gives to a database without one."""

DELIVER = "django_q.tasks.sending.deliver"
"""The task of a schedule that keeps a package for longer than the broker can."""


class Route(NamedTuple):
    """What the options of one call say about sending."""

    settings: ClusterSettings
    cluster: str | None = None
    chosen: Broker | None = None
    """The caller's own broker."""
    sync: bool = False
    due: datetime | None = None
    """When the tasks may run; None means now."""
    on_commit: str | None = None
    """The database whose transaction is waited for."""

    @classmethod
    def take(cls, options: dict[str, Any], settings: ClusterSettings) -> Route:
        """Take the options that concern the sending out of the valid options of a call.

        Raises:
            OptionError: they contradict each other.
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
        """Send packages, now or when the transaction commits; in sync mode, run them instead.

        They are pickled at once: later changes of the arguments have no effect. In sync mode the tasks get the copy
        that a worker would get.

        Args:
            packages: the tasks.
            inline: runs them in sync mode; by default they run one after another.
            within: what surrounds the moment in which they are queued, given the broker and the seconds until they are
                due.

        Raises:
            UnsendableTask: one cannot be pickled, or belongs to `__main__`; none was sent.
            BrokerUnavailable: the broker cannot be reached.
        """
        packages = [announced(package) for package in packages]
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
        """Return the work of sync mode."""
        copies = [copy_of(package, data) for package, data in zip(packages, pickles, strict=True)]
        return partial(self._run, copies, inline)

    def _queue(
        self,
        packages: Sequence[TaskPackage],
        pickles: Sequence[bytes],
        within: Callable[[Broker, float], AbstractContextManager[None]] | None,
    ) -> Callable[[], None]:
        """Return the work of sending."""
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
        """The broker of the queue."""
        return self.chosen or shared_broker(self._target(), self.cluster)

    def _target(self) -> ClusterSettings:
        """The settings of the cluster that is to run the tasks."""
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
        """Let a schedule keep what the broker cannot keep for so long."""
        target = self._target()
        if broker.list_key != shared_broker(target, self.cluster).list_key:
            raise OptionError(
                f"{broker!r} cannot hold a task back for so long, and a schedule sends to clusters only: say "
                "cluster='its name' instead of broker=."
            )
        moment = self.due and in_project_time(self.due)
        cluster = None if target.is_default_cluster else target.list_key
        for package, text in zip(packages, signed, strict=True):
            options = {"save": False, "task_name": truncated(f"deliver {package['name']}", 100)}
            Schedule.objects.create(
                func=DELIVER,
                args=write_args((text,)),
                kwargs=write_kwargs({"q_options": options}),
                schedule_type=Schedule.ONCE,
                repeats=-1,
                next_run=moment,
                cluster=cluster,
            )


def default_database() -> str | None:
    """Return the database whose transaction `on_commit=True` waits for.

    Returns:
        The default database. If the project leaves it empty, that of the tasks; None if that is empty, too.
    """
    if connections.settings[DEFAULT_DB_ALIAS]["ENGINE"] != EMPTY_ENGINE:
        return DEFAULT_DB_ALIAS
    alias = router.db_for_write(Task)
    return alias if connections.settings[alias]["ENGINE"] != EMPTY_ENGINE else None


def due(delay: float | None, eta: datetime | None) -> datetime | None:
    """Return when a task may run; None means now.

    Raises:
        OptionError: both options are given.
    """
    if delay is not None and eta is not None:
        raise OptionError("delay and eta both say when: give one of them.")
    return eta if eta is not None else datetime.now(UTC) + timedelta(seconds=delay) if delay else None


def chosen_broker(broker: Broker | None, cluster: object) -> Broker | None:
    """Return the broker whose queue's key begins the keys in the cache; None for that of the settings."""
    cluster = queue_name("cluster", cluster)
    if broker is not None or not cluster or cluster == current_settings().list_key:
        return broker
    return broker_of(cluster)
