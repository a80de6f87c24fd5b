"""Makes the processes of a cluster, guards them, and ends them in order.

It touches no broker and no database, so that nothing can block it.
"""

from __future__ import annotations

import os
import time
from multiprocessing import connection, current_process
from typing import TYPE_CHECKING, Any

from django_q.humanhash import humanize

from . import log
from .channels import Bell, Channel
from .lifeline import Lifeline
from .messages import STOP, Death, Kind, pack
from .pool import Member, Pool, context_of, preload
from .process import Wiring, prepare
from .state import ClusterState, Phase, WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.settings import ClusterSettings

MONITOR_SECONDS = 5.0
"""What the monitor gets, beyond the time of the running tasks, to save the last results of a stop."""

PUSHER_SECONDS = 3.0
"""What the pusher gets at the least to give back what has not begun."""

WEIGHT = 4096
"""Bytes of the room for outcomes that a large one takes: dozens of them may wait for a database, not hundreds."""


class Sentinel:
    """The process between `manage.py qcluster` and all others.

    Args:
        settings: of the cluster.
        cluster_id: hexadecimal id of the cluster, with or without dashes.
        state: the cluster's shared memory.
        control: rung by the parent when it asks for a stop.
        started: rung for the parent when all processes are there.
    """

    def __init__(
        self, settings: ClusterSettings, cluster_id: str, state: ClusterState, control: Bell, started: Bell, parent: Any
    ) -> None:
        self.settings, self.cluster_id, self.state = settings, cluster_id, state
        self.control, self.started, self.parent = control, started, parent
        self.name = current_process().name
        self.orphaned = False
        self.deaths: list[Death] = []
        self.stop_by = float("inf")
        self.wiring = Wiring(
            settings=settings,
            cluster_id=cluster_id,
            state=state,
            tasks=Channel(),
            results=Channel(WEIGHT),
            hungry=Bell(),
            alarm=Bell(),
            lifeline=Lifeline(),
        )
        self.pool = Pool(self.wiring, context_of(settings.start_method))

    def run(self) -> None:
        """Start, guard until told to stop, stop."""
        self.state.sentinel = os.getpid()
        if self.settings.start_method == "fork":
            preload(self.settings)
        self.pool.spawn()
        self.state.phase = Phase.RUNNING
        log.guarding(self.name, humanize(self.cluster_id.replace("-", "")), self.settings.list_key)
        self.started.ring()
        while not self._asked_to_stop():
            self._turn(self.pool.members)
        self.stop()

    # guarding

    def _turn(self, wanted: Sequence[Member]) -> None:
        """Sleep until something happens, then see to everybody; `wanted` are replaced when they are gone."""
        self._sleep()
        for member in self.pool.dead():
            self._bury(member)
        for member in self.pool.vacant():
            if member in wanted:
                member.spawn()
                self.state.reincarnations += 1
        self._watch_deadlines()
        self._report_deaths()

    def _sleep(self) -> None:
        until = self.settings.guard_cycle
        now = time.monotonic()
        if (birth := self.pool.next_birth()) is not None and self.state.phase == Phase.RUNNING:
            until = min(until, birth - now)
        until = min(until, self.stop_by - now)
        watched: list[Any] = [self.control.fileno(), *self.pool.sentinels()]
        if not self.orphaned:
            watched.append(self.parent)
        ready = connection.wait(watched, max(until, 0.01))
        if self.control.fileno() in ready:
            self.control.clear()
        if self.parent in ready and not self.orphaned:
            self.orphaned = True
            log.parent_is_gone(self.name)

    def _asked_to_stop(self) -> bool:
        return self.orphaned or self.state.stop_requests > 0

    def _bury(self, member: Member) -> None:
        name, slot = member.name, member.slot
        interrupted = member.killed_for == INTERRUPTED
        how = member.bury()
        if slot is None:
            if self.state.phase == Phase.RUNNING:
                log.reincarnated(member.role.name, name, how)
            return
        if slot.state == WorkerState.RECYCLED:
            log.recycled(name)
            return
        if slot.state == WorkerState.BUSY:
            self.deaths.append(Death(slot.message(), name, f"{name}, which ran the task, ended: {how}", interrupted))
            slot.clear_desk()
        slot.state = WorkerState.ABSENT
        if self.state.phase == Phase.RUNNING:
            log.reincarnated(member.role.name, name, how)

    def _watch_deadlines(self) -> None:
        now = time.monotonic()
        for member in self.pool.workers:
            slot = member.slot
            if slot is not None and 0.0 < slot.deadline < now and slot.state == WorkerState.BUSY:
                log.timed_out(member.name)
                member.kill("timeout: it did not end when its time was over")
                slot.deadline = 0.0

    def _report_deaths(self) -> None:
        while self.deaths and self.wiring.results.send(pack(Kind.DEATH, self.deaths[0])):
            del self.deaths[0]

    # stopping

    def stop(self) -> None:
        """The stop procedure: fetch no more, give back, finish what runs, save, end."""
        log.stopping_processes(self.name)
        self.state.phase = Phase.STOPPING
        self.stop_by = time.monotonic() + (0 if self.orphaned else self.settings.stop_timeout)
        self.wiring.hungry.ring()
        self.wiring.alarm.ring()
        pool = self.pool
        self._until(lambda: not pool.pusher.alive, extra=PUSHER_SECONDS)
        pool.pusher.kill("it did not stop pushing in time")
        self._stop_workers()
        while self.deaths and pool.monitor.alive:
            self._turn([pool.monitor])
        self.wiring.results.send(STOP, wait=MONITOR_SECONDS)
        self._until(lambda: not pool.monitor.alive and not pool.scheduler.alive, extra=MONITOR_SECONDS, wanted=())
        for member in pool.members:
            if member.alive:
                member.kill("it did not end in time")
                member.bury()
        self.state.phase = Phase.STOPPED

    def _stop_workers(self) -> None:
        workers = self.pool.workers
        for _ in workers:
            self.wiring.tasks.send(STOP)
        self._until(lambda: not any(worker.alive for worker in workers))
        for worker in workers:
            if worker.alive:
                log.out_of_time(worker.name)
                worker.kill(INTERRUPTED)
        while any(worker.process is not None for worker in workers):
            self._turn([self.pool.monitor])

    def _until(self, done: Callable[[], bool], *, extra: float = 0.0, wanted: Sequence[Member] | None = None) -> None:
        """Guard on until something is done, as long as the stop may take, or `extra` seconds if that is longer."""
        least = time.monotonic() + extra
        while not done() and time.monotonic() < max(self._deadline(), least):
            self._turn([self.pool.monitor] if wanted is None else wanted)

    def _deadline(self) -> float:
        if self.orphaned or self.state.stop_requests > 1:  # a second signal shortens it
            self.stop_by = min(self.stop_by, time.monotonic())
        return self.stop_by


INTERRUPTED = "the stop of the cluster"
"""Why a worker was killed that had not finished in time."""


def main(
    settings: ClusterSettings, cluster_id: str, state: ClusterState, control: Bell, started: Bell, lifeline: Lifeline
) -> None:
    """The target of the sentinel's process."""
    parent = lifeline.watch()
    prepare(settings, "sentinel")
    Sentinel(settings, cluster_id, state, control, started, parent).run()
