"""Processes of a cluster: starts, watches and replaces them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django_q.cluster.ipc.state import Slot, WorkerState
from django_q.cluster.system.process_group import has_exited, kill_group
from django_q.log import messages as log
from django_q.pacing import Backoff

from . import sessions
from .launch import Launch
from .process import Wiring, main

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

STEADY_SECONDS = 2.0
"""Lifetime after which the end of a process is no failed start, and resets the back-off."""

_numbers = itertools.count(1)


class Role(NamedTuple):
    """Kind of process: its name and the path of its class."""

    name: str
    path: str


WORKER = Role("worker", "django_q.cluster.processes.worker:Worker")
PUSHER = Role("pusher", "django_q.cluster.processes.pusher:Pusher")
MONITOR = Role("monitor", "django_q.cluster.processes.monitor:Monitor")
SCHEDULER = Role("scheduler", "django_q.cluster.processes.scheduler:Scheduler")
PROBES = Role("probes", "django_q.cluster.probes.server:Probes")


class Member:
    """Place in the cluster, and the process that currently occupies it."""

    def __init__(self, role: Role, context: BaseContext, wiring: Wiring, slot: Slot | None = None) -> None:
        self.role = role
        self.context, self.wiring, self.slot = context, wiring, slot
        self.process: BaseProcess | None = None
        self.backoff = Backoff()
        self.born = 0.0
        self.due = 0.0
        self.killed_for: str | None = None
        """Reason for which the sentinel has killed the process; None if it has not."""
        self.heartbeat = wiring.state.heartbeats[role.name] if slot is None else slot.heartbeat

    @property
    def name(self) -> str:
        """Name of the process in the log."""
        return self.process.name if self.process else self.role.name

    @property
    def alive(self) -> bool:
        """True if the process runs. After its end it is a zombie until `reap`, so that its group keeps its id."""
        return self.process is not None and runs(self.process)

    def spawn(self) -> bool:
        """Start the process. If the system refuses, set `due` to the time of the next attempt.

        Returns:
            True if it has started.
        """
        process = self._new_process()
        sessions.drop()
        if self.slot is not None:
            self.slot.state = WorkerState.ABSENT
            self.slot.deadline = 0.0
        self.killed_for = None
        self.heartbeat.reset()
        try:
            if self.backoff.failures and self.wiring.settings.start_method == "fork":
                try_fork()
            process.start()
        except (OSError, EOFError) as error:  # EOFError: the server of `forkserver` could not fork
            self._start_again_later(error)
            return False
        self.process, self.born = process, time.monotonic()
        self._record_pid(process.pid or 0)
        return True

    def _new_process(self) -> BaseProcess:
        arguments = () if self.slot is None else (self.slot.index,)
        process: BaseProcess = cast("Any", self.context).Process(
            target=Launch(main, self.role.path, self.wiring, *arguments, lifeline=self.wiring.lifeline),
            name=f"{multiprocessing.current_process().name}:{next(_numbers)}",
        )
        process.daemon = self.slot is None or self.wiring.settings.daemonize_workers
        return process

    def _start_again_later(self, error: Exception) -> None:
        self.backoff.failed()
        seconds = self.backoff.seconds
        self.due = time.monotonic() + seconds
        log.process.not_started(multiprocessing.current_process().name, self.role.name, error, seconds)

    def kill(self, reason: str) -> None:
        """Kill the process, and for a worker also the programs of its tasks.

        Args:
            reason: cause of the end, for `reap`.
        """
        self.killed_for = reason
        if self.process is not None:
            self._kill_group()
            self.process.kill()

    def _kill_group(self) -> None:
        if self.slot is not None and self.process is not None and self.process.pid:
            kill_group(self.process.pid)

    def reap(self) -> str:
        """Reap a process that has ended. If a worker did not exit regularly, kill the programs of its tasks, too.

        Returns:
            The cause of the end, as text that can follow "after" or "it".
        """
        assert self.process is not None
        if self.killed_for or (self.slot is not None and self.slot.state not in EXIT_STATES):
            self._kill_group()
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        self.process = None
        self._record_pid(0)
        if time.monotonic() - self.born < STEADY_SECONDS and self.killed_for is None and code:
            self.backoff.failed()
        else:
            self.backoff.succeeded()
        self.due = time.monotonic() + self.backoff.seconds
        return self.killed_for or exit_text(code)

    def _record_pid(self, pid: int) -> None:
        if self.slot is not None:
            self.slot.pid = pid
        else:
            setattr(self.wiring.state, self.role.name, pid)


EXIT_STATES = (WorkerState.RECYCLED, WorkerState.EXITING)
"""States of a worker that exits regularly."""


def runs(process: BaseProcess) -> bool:
    """Return True if a child process runs, without reaping it where the system allows that."""
    exited = has_exited(process.pid or 0)
    return process.is_alive() if exited is None else not exited


def try_fork() -> None:
    """Fork a process that exits at once.

    `multiprocessing` leaves four file descriptors open when a fork fails. So a failed start is only repeated after a
    successful fork.

    Raises:
        OSError: the system refuses.
    """
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def exit_text(code: int) -> str:
    """Return the text for an exit code.

    Args:
        code: exit code of `multiprocessing`; negative for a signal.
    """
    if code >= 0:
        return f"sudden death (exit status {code})"
    try:
        return f"sudden death (signal {signal.Signals(-code).name})"
    except ValueError:
        return f"sudden death (signal {-code})"


class Pool:
    """Members of a cluster."""

    def __init__(self, wiring: Wiring, context: BaseContext) -> None:
        self.workers = [Member(WORKER, context, wiring, slot) for slot in wiring.state.slots]
        self.monitor = Member(MONITOR, context, wiring)
        self.pusher = Member(PUSHER, context, wiring)
        self.scheduler = Member(SCHEDULER, context, wiring)
        self.probes = [] if wiring.listener is None else [Member(PROBES, context, wiring)]

    @property
    def members(self) -> list[Member]:
        """Members in the order of their start: the monitor before the pusher, so that outcomes are received."""
        return [*self.workers, self.monitor, self.scheduler, self.pusher, *self.probes]

    def spawn(self) -> None:
        """Start all processes. Those that the system refuses stay vacant."""
        for member in self.members:
            member.spawn()

    @property
    def is_complete(self) -> bool:
        """True if there is a process of each kind, so that tasks can be fetched, executed and saved."""
        others = (self.monitor, self.scheduler, self.pusher)
        return all(each.process for each in others) and any(worker.process for worker in self.workers)

    def sentinels(self) -> list[int]:
        """Return the file descriptors that become readable when a process ends."""
        return [member.process.sentinel for member in self.members if member.process is not None]

    def dead(self) -> list[Member]:
        """Return the members whose process has ended."""
        return [member for member in self.members if member.process is not None and not member.alive]

    def vacant(self) -> list[Member]:
        """Return the members without a process whose start is due."""
        now = time.monotonic()
        return [member for member in self.members if member.process is None and member.due <= now]


def context_of(start_method: str) -> BaseContext:
    """Return the `multiprocessing` context of a start method."""
    return multiprocessing.get_context(start_method)
