"""The processes of a cluster: made, watched, replaced."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import signal
import time
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.db import connections
from django.utils.functional import SimpleLazyObject

from django_q.brokers import broker_class

from .backoff import Backoff
from .memory import fill_holes
from .process import Wiring, class_of, main
from .state import Slot, WorkerState
from .title import prepare_title

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

    from django_q.settings import ClusterSettings

STEADY_SECONDS = 2.0
"""A process that lived this long was no failed start."""


_numbers = itertools.count(1)


class Role(NamedTuple):
    """A kind of process."""

    name: str
    path: str


WORKER = Role("worker", "django_q.cluster.worker:Worker")
PUSHER = Role("pusher", "django_q.cluster.pusher:Pusher")
MONITOR = Role("monitor", "django_q.cluster.monitor:Monitor")
SCHEDULER = Role("scheduler", "django_q.cluster.scheduling:Scheduler")


class Member:
    """One place in the cluster, and the process that holds it at the moment."""

    def __init__(self, role: Role, context: BaseContext, wiring: Wiring, slot: Slot | None = None) -> None:
        self.role = role
        self.context, self.wiring, self.slot = context, wiring, slot
        self.process: BaseProcess | None = None
        self.backoff = Backoff()
        self.born = 0.0
        self.due = 0.0
        self.killed_for: str | None = None
        """Why we killed it, if we did."""

    @property
    def name(self) -> str:
        """How the process is called in the log."""
        return self.process.name if self.process else self.role.name

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.is_alive()

    def spawn(self) -> None:
        """Make the process."""
        arguments = () if self.slot is None else (self.slot.index,)
        process: BaseProcess = cast("Any", self.context).Process(
            target=main,
            name=f"{multiprocessing.current_process().name}:{next(_numbers)}",
            args=(self.role.path, self.wiring, *arguments),
        )
        process.daemon = self.slot is None or self.wiring.settings.daemonize_workers
        if self.slot is not None:
            self.slot.state = WorkerState.ABSENT
            self.slot.deadline = 0.0
        self.killed_for = None
        process.start()
        self.process, self.born = process, time.monotonic()
        self._tell_pid(process.pid or 0)

    def kill(self, reason: str) -> None:
        """End the process at once, remembering why."""
        self.killed_for = reason
        if self.process is not None:
            self.process.kill()

    def bury(self) -> str:
        """Take leave of a dead process.

        Returns:
            How it ended, as words that follow "after" and "it".
        """
        assert self.process is not None
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        self.process = None
        self._tell_pid(0)
        if time.monotonic() - self.born < STEADY_SECONDS and self.killed_for is None and code:
            self.backoff.failed()
        else:
            self.backoff.succeeded()
        self.due = time.monotonic() + self.backoff.seconds
        return self.killed_for or how_it_ended(code)

    def _tell_pid(self, pid: int) -> None:
        if self.slot is not None:
            self.slot.pid = pid
        else:
            setattr(self.wiring.state, self.role.name, pid)


def how_it_ended(code: int) -> str:
    """An exit code in words.

    Args:
        code: as `multiprocessing` tells it: negative for a signal.
    """
    if code >= 0:
        return f"sudden death (exit status {code})"
    try:
        return f"sudden death (signal {signal.Signals(-code).name})"
    except ValueError:
        return f"sudden death (signal {-code})"


LATE = ("django.db.models.sql.compiler", "encodings.idna")
"""What would otherwise be imported in each process: by Django for the first query, by Python to look up a host."""


@cache
def preload(settings: ClusterSettings) -> None:
    """Have ready what the processes will need, once: forked, they share its memory and start at once."""
    for role in (WORKER, PUSHER, MONITOR, SCHEDULER):
        class_of(role.path).prepare()
    for module in LATE:
        import_module(module)
    broker_class(settings).prepare(settings)
    settle_patterns()
    prepare_title()
    gc.collect()
    gc.freeze()  # or the collector would write to, and so copy, every shared page
    fill_holes()


def settle_patterns() -> None:
    """Compile the patterns that Django compiles for the first query, and for the first key of a cache.

    Only Django's own: what others make lazily may have a reason to be late.
    """
    backends = {type(connection).__module__ for connection in connections.all(initialized_only=True)}
    for module in (*(name for name in backends if name.startswith("django.")), "django.core.cache.backends.base"):
        for value in vars(import_module(module)).values():
            if isinstance(value, SimpleLazyObject):
                bool(value)


class Pool:
    """All members of a cluster."""

    def __init__(self, wiring: Wiring, context: BaseContext) -> None:
        self.workers = [Member(WORKER, context, wiring, slot) for slot in wiring.state.slots]
        self.monitor = Member(MONITOR, context, wiring)
        self.pusher = Member(PUSHER, context, wiring)
        self.scheduler = Member(SCHEDULER, context, wiring)

    @property
    def members(self) -> list[Member]:
        """In the order they are made: nobody gets work before there is somebody to take the result."""
        return [*self.workers, self.monitor, self.scheduler, self.pusher]

    def spawn(self) -> None:
        """Make all processes."""
        for member in self.members:
            member.spawn()

    def sentinels(self) -> list[int]:
        """What becomes readable when a process ends."""
        return [member.process.sentinel for member in self.members if member.process is not None]

    def dead(self) -> list[Member]:
        """Members whose process has ended."""
        return [member for member in self.members if member.process is not None and not member.process.is_alive()]

    def vacant(self) -> list[Member]:
        """Members without a process whose time to get one has come."""
        now = time.monotonic()
        return [member for member in self.members if member.process is None and member.due <= now]

    def next_birth(self) -> float | None:
        """When the next vacant place is filled (`time.monotonic`, seconds)."""
        return min((member.due for member in self.members if member.process is None), default=None)


def context_of(start_method: str) -> BaseContext:
    """The `multiprocessing` context of a start method."""
    return multiprocessing.get_context(start_method)
