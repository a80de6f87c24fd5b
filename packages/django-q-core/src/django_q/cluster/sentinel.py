"""Starts the processes of a cluster, supervises them, and ends them in order.

It uses no broker and no database, so that nothing can block it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from multiprocessing import connection, current_process
from typing import TYPE_CHECKING, Any, Final, NoReturn

from django_q import reporters
from django_q.humanhash import humanize

from . import log
from .channels import Bell, Channel
from .guard import Guard
from .lifeline import Lifeline
from .messages import STOP, Death, Kind, pack
from .pool import Member, Pool, context_of, preload
from .process import Wiring, prepare
from .state import ClusterState, Phase, WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django_q.settings import ClusterSettings

MONITOR_SECONDS: Final = 4.0
"""Time of the monitor, beyond that of the running tasks, to save the last results of a stop."""

HUNG_SECONDS: Final = 4.0
"""Time without progress after which a pusher or scheduler that should stop is killed."""

WORKER_SECONDS: Final = 1.0
"""Least time of an idle worker to exit."""

KILL_SECONDS: Final = 1.0
"""Time to wait for the end of killed processes: one in an uninterruptible system call does not end."""

QUIET_SECONDS: Final = 0.05
"""Time without work after which nothing needs a worker: one may be about to begin a message that it has received."""

DRAIN_CYCLE_SECONDS: Final = 0.02
"""Longest sleep of the sentinel while it waits for work to end, which wakes nobody."""

HURRY_SECONDS: Final = {"pusher": 0.4, "workers": 0.6, "monitor": 1.2, "rest": 1.5}
"""End of each phase of a stop, in seconds after the second signal."""

REPORT_SECONDS: Final = 5.0
"""Time of the error reporters when the sentinel crashes."""

WEIGHT: Final = 4096
"""Bytes of the room for outcomes that a large one takes: dozens of them may wait for a database, not hundreds."""


class Sentinel:
    """The process between `manage.py qcluster` and all others.

    Args:
        settings: of the cluster.
        cluster_id: hexadecimal id of the cluster, with or without dashes.
        state: the cluster's shared memory.
        control: rung by the parent when it asks for a stop.
        started: rung for the parent when all processes have been started.
        parent: becomes readable when the parent is gone.
    """

    def __init__(
        self, settings: ClusterSettings, cluster_id: str, state: ClusterState, control: Bell, started: Bell, parent: Any
    ) -> None:
        self.settings, self.cluster_id, self.state = settings, cluster_id, state
        self.control, self.started, self.parent = control, started, parent
        self.name = current_process().name
        self.orphaned = False
        self.deaths: list[Death] = []
        self.stop_by = self.hurried_at = float("inf")
        """When running tasks are interrupted, and when the second signal was noticed (`time.monotonic`, seconds)."""
        self.stop_began = 0.0
        self.quiet_since: float | None = None
        self.guard = Guard(settings, state)
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
        while not self.pool.is_complete and not self._asked_to_stop():
            self._turn(self.pool.members)
        self.state.phase = Phase.RUNNING
        log.guarding(self.name, humanize(self.cluster_id.replace("-", "")), self.settings.list_key)
        self.started.ring()
        while not self._asked_to_stop():
            self._turn(self.pool.members)
        self.stop()

    # guarding

    def _turn(self, wanted: Sequence[Member], longest: float | None = None) -> None:
        """Sleep until something happens, then see to everybody; `wanted` are replaced when they are gone."""
        self._sleep(wanted, self.settings.guard_cycle if longest is None else longest)
        self.guard.look()
        for member in self.pool.dead():
            self._bury(member)
        for member in self.pool.vacant():
            if member in wanted:
                replaces = member.born > 0
                if member.spawn() and replaces:
                    self.state.reincarnations += 1
        self._watch_deadlines()
        self._watch_heartbeats()
        self._report_deaths()

    def _sleep(self, wanted: Sequence[Member], longest: float) -> None:
        now = time.monotonic()
        until = min([longest, self.stop_by - now, *(member.due - now for member in wanted if member.process is None)])
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
            self._clear_flags(member)
            self._log_replacement(member, name, how)
            return
        if slot.state == WorkerState.RECYCLED:
            log.recycled(name)
            return
        if slot.state == WorkerState.BUSY:
            self.deaths.append(Death(slot.message(), name, f"{name}, which ran the task, ended: {how}", interrupted))
            slot.clear_desk()
        slot.state = WorkerState.ABSENT
        self._log_replacement(member, name, how)

    def _log_replacement(self, member: Member, name: str, how: str) -> None:
        if self.state.phase == Phase.RUNNING:
            log.reincarnated(member.role.name, name, how)

    def _clear_flags(self, member: Member) -> None:
        """Clear what a process that has died told the others: its successor starts with nothing in hand."""
        if member is self.pool.monitor:
            self.state.paused = self.state.hooks = self.state.backlog = 0
        elif member is self.pool.pusher:
            self.state.wake_at = 0

    def _watch_deadlines(self) -> None:
        for member in self.pool.workers:
            slot = member.slot
            if slot is None or not self.guard.is_overdue(member):
                continue
            if slot.state == WorkerState.BUSY:
                log.timed_out(member.name)
                member.kill("timeout: it did not end when its time was over")
            else:
                log.does_not_exit(member.name)
                member.kill("it did not exit")
            slot.deadline = 0.0

    def _watch_heartbeats(self) -> None:
        for member in self.pool.members:
            if member.killed_for is None and self.guard.is_stalled(member):
                seconds = self.guard.silence(member)
                log.no_progress(member.name, member.role.name, seconds)
                member.kill(f"no progress for {seconds:.0f} seconds")

    def _report_deaths(self) -> None:
        while self.deaths and self.wiring.results.send(pack(Kind.DEATH, self.deaths[0])):
            del self.deaths[0]

    # stopping

    def stop(self) -> None:
        """The stop procedure: fetch no more, give back, finish what runs, save, end."""
        log.stopping_processes(self.name)
        self.stop_began = time.monotonic()
        self.stop_by = self.state.stop_by = self.stop_began + self.settings.stop_timeout
        self.state.phase = Phase.STOPPING
        self.started.ring()
        self.wiring.hungry.ring()
        self.wiring.alarm.ring()
        self._stop_pusher()
        self._drain()
        self._stop_workers()
        self._stop_monitor()
        self._stop_scheduler()
        self._kill(self.pool.members, "it did not end in time")
        self.state.phase = Phase.STOPPED

    def _stop_pusher(self) -> None:
        """Wait for the pusher while it beats: it waits until all tasks without a receipt have begun."""
        pusher = self.pool.pusher
        self._until(lambda: self._is_gone_or_hangs(pusher), "pusher", [self.pool.monitor], extra=HUNG_SECONDS)
        self._kill([pusher], "it did not stop pushing in time")

    def _drain(self) -> None:
        """Keep the workers until nothing needs them: the monitor sends them follow-ups of what it saves."""
        self._until(self._is_quiet, "workers", [*self.pool.workers, self.pool.monitor], longest=DRAIN_CYCLE_SECONDS)

    def _is_quiet(self) -> bool:
        """Return True if no task waits or runs, no outcome waits, and no follow-up is in progress, for a moment."""
        now = time.monotonic()
        if self._has_work():
            self.quiet_since = None
        elif self.quiet_since is None:
            self.quiet_since = now
        return self.quiet_since is not None and now - self.quiet_since >= QUIET_SECONDS

    def _has_work(self) -> bool:
        state = self.state
        if any(slot.state in (WorkerState.BUSY, WorkerState.SENDING) for slot in state.slots):
            return True
        if self.deaths or self.wiring.tasks.wait(0):
            return True
        if state.paused:
            return False  # the monitor cannot save, so it sends nothing
        return bool(self.wiring.results.wait(0) or state.backlog or state.hooks)

    def _stop_workers(self) -> None:
        self.state.phase = Phase.ENDING
        workers = self.pool.workers
        unsent = len(workers)

        def done() -> bool:
            nonlocal unsent
            while unsent and self.wiring.tasks.send(STOP):
                unsent -= 1
            if time.monotonic() >= self.stop_by:
                self._interrupt()
            return all(worker.process is None for worker in workers)

        self._until(done, "workers", [self.pool.monitor], extra=WORKER_SECONDS)
        self._interrupt()
        self._kill(workers, "it did not stop in time")

    def _interrupt(self) -> None:
        """Kill the workers that run a task when the time is over."""
        for worker in self.pool.workers:
            slot = worker.slot
            if worker.alive and worker.killed_for is None and slot is not None and slot.state == WorkerState.BUSY:
                log.out_of_time(worker.name)
                worker.kill(INTERRUPTED)

    def _stop_monitor(self) -> None:
        """Tell the monitor to stop, after the last death."""
        results, monitor = self.wiring.results, self.pool.monitor
        told = self._until(lambda: not self.deaths and results.send(STOP), "monitor", [monitor], extra=MONITOR_SECONDS)
        if told:
            self._until(lambda: monitor.process is None, "monitor", (), extra=MONITOR_SECONDS)

    def _stop_scheduler(self) -> None:
        self._until(lambda: self._is_gone_or_hangs(self.pool.scheduler), "monitor", ())

    def _is_gone_or_hangs(self, member: Member) -> bool:
        return member.process is None or self.guard.silence(member, since=self.stop_began) > HUNG_SECONDS

    def _kill(self, members: Sequence[Member], reason: str) -> None:
        members = [member for member in members if member.process is not None]
        for member in members:
            if member.killed_for is None:
                member.kill(reason)
        self._until(lambda: all(member.process is None for member in members), "rest", (), extra=KILL_SECONDS)

    def _until(
        self,
        done: Callable[[], bool],
        phase: str,
        wanted: Sequence[Member],
        *,
        extra: float = 0.0,
        longest: float | None = None,
    ) -> bool:
        """Guard on until something is done.

        Args:
            done: ends the wait.
            phase: a key of `HURRY_SECONDS`.
            wanted: processes that are replaced meanwhile.
            extra: seconds that the wait may take though the time of the stop is over.
            longest: seconds between two looks, if nothing happens.

        Returns:
            False if the time was over before.
        """
        least = time.monotonic() + extra
        while not done():
            self._notice_hurry()
            if time.monotonic() >= min(max(self.stop_by, least), self.hurried_at + HURRY_SECONDS[phase]):
                return False
            self._turn(wanted, longest)
        return True

    def _notice_hurry(self) -> None:
        """Interrupt running tasks at once after a second signal, and when the parent is gone."""
        if (self.orphaned or self.state.stop_requests > 1) and self.hurried_at == float("inf"):
            self.hurried_at = time.monotonic()
            self.stop_by = self.state.stop_by = min(self.stop_by, self.hurried_at)
            self.wiring.hungry.ring()


INTERRUPTED = "the stop of the cluster"
"""Why a worker was killed that had not finished in time."""


def main(
    settings: ClusterSettings, cluster_id: str, state: ClusterState, control: Bell, started: Bell, lifeline: Lifeline
) -> None:
    """The target of the sentinel's process: it ends with status 0 only if all processes of the cluster have ended."""
    sentinel: Sentinel | None = None
    try:
        parent = lifeline.watch()
        prepare(settings, "sentinel")
        sentinel = Sentinel(settings, cluster_id, state, control, started, parent)
        sentinel.run()
    except BaseException as error:  # noqa: BLE001 - the edge of the process: without a sentinel nothing may go on
        members = [] if sentinel is None else sentinel.pool.members
        kill_all(members, "its sentinel crashed")
        log.crashed(current_process().name, error)
        report(error, settings)
        leave(1)
    if any(member.process is not None for member in sentinel.pool.members):
        leave(1)


def kill_all(members: Sequence[Member], reason: str) -> None:
    """Kill the processes of a cluster, whatever goes wrong with one of them."""
    for member in members:
        with suppress(Exception):
            member.kill(reason)


def report(error: BaseException, settings: ClusterSettings) -> None:
    """Report a crash; a reporter that hangs is not waited for."""
    thread = threading.Thread(target=reporters.report, args=(error, settings), daemon=True)
    thread.start()
    thread.join(REPORT_SECONDS)


def leave(status: int) -> NoReturn:
    """Exit without waiting for child processes, as the exit handler of `multiprocessing` would."""
    logging.shutdown()
    os._exit(status)
