"""Supervisor of a cluster: starts, supervises and stops its processes.

It uses no broker and no database, so that no server can block it.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing import connection, current_process
from typing import TYPE_CHECKING, Any, Final, NoReturn

from django_q import reporters
from django_q.cluster.ipc.channels import Channel, Wakeup
from django_q.cluster.ipc.lifeline import Lifeline
from django_q.cluster.ipc.marks import CommandMarks
from django_q.cluster.ipc.messages import Death, Kind, pack
from django_q.cluster.ipc.state import ClusterState, Phase, WorkerState
from django_q.cluster.metrics.tallies import Tallies
from django_q.log import messages as log

from .cancelling import CANCELLED, Canceller
from .guard import Guard
from .logging_setup import name_of
from .pool import Member, Pool, context_of
from .preload import preload
from .process import Wiring, prepare
from .stopping import INTERRUPTED, StopProcedure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.cluster.probes.listener import Listener
    from django_q.settings import ClusterSettings

METRICS_LIBRARY: Final = "prometheus_client"
"""Library of the extra `metrics`. Without it, nothing is counted."""

OUTCOME_PADDING_BYTES: Final = 4096
"""Padding of large outcomes, so that dozens and not hundreds fit into the channel while the database is unavailable."""


class Sentinel:
    """Process between `manage.py qcluster` and all others.

    Args:
        settings: settings of the cluster.
        cluster_id: hexadecimal id of the cluster, with or without dashes.
        state: shared memory of the cluster.
        control: set by the parent to request a stop.
        started: set for the parent when all processes have been started.
        parent: socket that becomes readable when the parent dies.
        listener: socket of the probes; None without them.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        cluster_id: str,
        state: ClusterState,
        control: Wakeup,
        started: Wakeup,
        parent: Any,
        listener: Listener | None = None,
    ) -> None:
        self.settings, self.cluster_id, self.state = settings, cluster_id, state
        self.control, self.started, self.parent = control, started, parent
        self.name = current_process().name
        self.orphaned = False
        self.deaths: list[Death] = []
        self.guard = Guard(settings, state)
        self.wiring = Wiring(
            settings=settings,
            cluster_id=cluster_id,
            state=state,
            tasks=Channel(),
            results=Channel(OUTCOME_PADDING_BYTES),
            wake_pusher=Wakeup(),
            wake_scheduler=Wakeup(),
            lifeline=Lifeline(),
            commands=Channel(),
            marks=CommandMarks(),
            listener=listener,
            tallies=None if listener is None or find_spec(METRICS_LIBRARY) is None else Tallies(settings.workers),
        )
        self.canceller = Canceller(self.name, self.wiring)
        self.pool = Pool(self.wiring, context_of(settings.start_method))

    def run(self) -> None:
        """Start the processes, supervise them until a stop is requested, and stop them."""
        self.state.sentinel = os.getpid()
        if self.settings.start_method == "fork":
            preload(self.settings)
        self.pool.spawn()
        while not self.pool.is_complete and not self._asked_to_stop():
            self.step(self.pool.members)
        self.state.phase = Phase.RUNNING
        log.cluster.guarded(self.name, name_of(self.cluster_id), self.settings.list_key)
        self.started.set()
        while not self._asked_to_stop():
            self.step(self.pool.members)
        self.stop()

    # supervision

    def step(self, wanted: Sequence[Member], longest: float | None = None) -> None:
        """Wait for an event, then handle dead processes, deadlines and heartbeats.

        Args:
            wanted: processes that are replaced after their end.
            longest: maximum time to wait in seconds; None for `guard_cycle`.
        """
        self._sleep(wanted, self.settings.guard_cycle if longest is None else longest)
        self.guard.look()
        for member in self.pool.dead():
            self._reap(member)
        for member in self.pool.vacant():
            if member in wanted:
                replaces = member.born > 0
                if member.spawn() and replaces:
                    self.state.reincarnations += 1
        self.canceller.step(self.pool.workers)
        self._watch_deadlines()
        self._watch_heartbeats()
        self._report_deaths()

    def _sleep(self, wanted: Sequence[Member], longest: float) -> None:
        now = time.monotonic()
        until = min(
            [longest, self.canceller.due - now, *(member.due - now for member in wanted if member.process is None)]
        )
        watched: list[Any] = [self.control.fileno(), self.canceller.file, *self.pool.sentinels()]
        if not self.orphaned:
            watched.append(self.parent)
        ready = connection.wait(watched, max(until, 0.01))
        if self.control.fileno() in ready:
            self.control.clear()
        if self.parent in ready and not self.orphaned:
            self.orphaned = True
            log.cluster.orphaned(self.name)

    def _asked_to_stop(self) -> bool:
        return self.orphaned or self.state.stop_requests > 0

    def _reap(self, member: Member) -> None:
        name, slot = member.name, member.slot
        interrupted, cancelled = member.killed_for == INTERRUPTED, member.killed_for == CANCELLED
        how = member.reap()
        if slot is None:
            self._clear_flags(member)
            self._log_replacement(member, name, how)
            return
        if slot.state == WorkerState.RECYCLED:
            log.worker.recycled(name)
            return
        if slot.state == WorkerState.BUSY:
            reason = f"{name}, which ran the task, ended: {how}"
            looking_up = slot.looking_up and member.killed_for is not None
            death = Death(slot.message(), name, reason, interrupted, slot.unpickling, looking_up)
            self.deaths.append(death._replace(cancelled=cancelled))
            slot.trim_buffer()
        slot.state = WorkerState.ABSENT
        self._log_replacement(member, name, how)

    def _log_replacement(self, member: Member, name: str, how: str) -> None:
        if self.state.phase == Phase.RUNNING:
            log.process.reincarnated(member.role.name, name, how)
            if self.wiring.tallies is not None:
                self.wiring.tallies.restarts[member.role.name].add()

    def _clear_flags(self, member: Member) -> None:
        """Reset the flags of a dead process, because its successor starts without work."""
        if member is self.pool.monitor:
            self.state.paused = self.state.hooks = self.state.backlog = self.state.postponed = 0
        elif member is self.pool.pusher:
            self.state.wake_at = 0

    def _watch_deadlines(self) -> None:
        for member in self.pool.workers:
            slot = member.slot
            if slot is None or not self.guard.is_overdue(member):
                continue
            if slot.state == WorkerState.BUSY:
                member.kill("timeout: the task did not end in time")
                log.worker.timed_out(member.name)
            else:
                member.kill("it did not exit")
                log.worker.not_exiting(member.name)
            slot.deadline = 0.0

    def _watch_heartbeats(self) -> None:
        for member in self.pool.members:
            if member.killed_for is None and self.guard.is_stalled(member):
                seconds = self.guard.silence(member)
                member.kill(f"no progress for {seconds:.0f} seconds")
                log.process.stalled(member.name, member.role.name, seconds)

    def _report_deaths(self) -> None:
        while self.deaths and self.wiring.results.send(pack(Kind.DEATH, self.deaths[0])):
            del self.deaths[0]

    # stopping

    def stop(self) -> None:
        """Execute the stop procedure."""
        log.cluster.stopping_processes(self.name)
        self.started.set()
        StopProcedure(self).run()


def main(
    settings: ClusterSettings,
    cluster_id: str,
    state: ClusterState,
    control: Wakeup,
    started: Wakeup,
    lifeline: Lifeline,
    listener: Listener | None = None,
) -> None:
    """Run the sentinel: target of its process. It exits with 0 only if all processes of the cluster have ended."""
    sentinel: Sentinel | None = None
    try:
        parent = lifeline.watch()
        prepare(settings, cluster_id, "sentinel")
        sentinel = Sentinel(settings, cluster_id, state, control, started, parent, listener)
        sentinel.run()
    except BaseException as error:  # noqa: BLE001 - edge of the process: without a sentinel, the cluster must end
        members = [] if sentinel is None else sentinel.pool.members
        kill_all(members, "its sentinel crashed")
        log.process.crashed(current_process().name, error)
        reporters.report_in_time(error, settings, last=True)
        exit_at_once(1)
    if any(member.process is not None for member in sentinel.pool.members):
        exit_at_once(1)


def kill_all(members: Sequence[Member], reason: str) -> None:
    """Kill the processes of a cluster. An error with one of them does not prevent the others."""
    for member in members:
        with suppress(Exception):
            member.kill(reason)


def exit_at_once(status: int) -> NoReturn:
    """Exit without waiting for child processes. The exit handler of `multiprocessing` would wait."""
    logging.shutdown()
    os._exit(status)
