"""Ends the processes of a cluster in order and in time."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from django_q.cluster.ipc.messages import STOP
from django_q.cluster.ipc.state import Phase, WorkerState

from . import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .pool import Member
    from .sentinel import Sentinel

INTERRUPTED = "the stop of the cluster"
"""Why a worker was killed that had not finished in time."""

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

CYCLE_SECONDS: Final = 0.1
"""Longest sleep of the sentinel while it stops."""

DRAIN_CYCLE_SECONDS: Final = 0.02
"""Longest sleep of the sentinel while it waits for work to end: no event tells it."""

HURRY_SECONDS: Final = {"pusher": 0.4, "workers": 0.6, "monitor": 1.2, "rest": 1.5}
"""End of each phase of a stop, in seconds after the second signal."""


class StopProcedure:
    """The steps of a stop, each of which is bounded. The sentinel goes on guarding meanwhile.

    Running tasks may take `stop_timeout` seconds. After a second signal, and when the parent is gone, they are
    interrupted at once.
    """

    def __init__(self, sentinel: Sentinel) -> None:
        self.sentinel = sentinel
        self.state, self.wiring, self.pool = sentinel.state, sentinel.wiring, sentinel.pool
        self.began = time.monotonic()
        self.stop_by = self.began + sentinel.settings.stop_timeout
        """When running tasks are interrupted (`time.monotonic`, seconds)."""
        self.hurried_at = math.inf
        """When the second signal was noticed (`time.monotonic`, seconds)."""
        self.quiet_since: float | None = None
        self.received, self.received_at = self.state.received, self.began
        """Number of outcomes that the monitor has received, and when it was seen to change."""

    def run(self) -> None:
        """Fetch no more, release, finish what runs, save, end."""
        self.state.stop_by = self.stop_by
        self.state.phase = Phase.STOPPING
        self.wiring.wake_pusher.set()
        self.wiring.wake_scheduler.set()
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
        if self.sentinel.deaths or self.wiring.tasks.wait(0):
            return True
        if state.paused:
            return False  # the monitor cannot save, so it sends nothing
        if self.wiring.results.wait(0) or state.backlog > state.postponed or state.hooks:
            return True
        return not self._monitor_is_current()

    def _monitor_is_current(self) -> bool:
        """Return True if the monitor has completed a step since it received an outcome: then its flags are true."""
        if self.state.received != self.received:
            self.received, self.received_at = self.state.received, time.monotonic()
        return self.state.heartbeats["monitor"].last >= self.received_at

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
        monitor, deaths = self.pool.monitor, self.sentinel.deaths

        def told() -> bool:
            return not deaths and self.wiring.results.send(STOP)

        if self._until(told, "monitor", [monitor], extra=MONITOR_SECONDS):
            self._until(lambda: monitor.process is None, "monitor", (), extra=MONITOR_SECONDS)

    def _stop_scheduler(self) -> None:
        self._until(lambda: self._is_gone_or_hangs(self.pool.scheduler), "monitor", ())

    def _is_gone_or_hangs(self, member: Member) -> bool:
        return member.process is None or self.sentinel.guard.silence(member, since=self.began) > HUNG_SECONDS

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
        longest: float = CYCLE_SECONDS,
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
            left = min(max(self.stop_by, least), self.hurried_at + HURRY_SECONDS[phase]) - time.monotonic()
            if left <= 0:
                return False
            self.sentinel.turn(wanted, min(left, longest))
        return True

    def _notice_hurry(self) -> None:
        """Interrupt running tasks at once after a second signal, and when the parent is gone."""
        if (self.sentinel.orphaned or self.state.stop_requests > 1) and self.hurried_at == math.inf:
            self.hurried_at = time.monotonic()
            self.stop_by = self.state.stop_by = min(self.stop_by, self.hurried_at)
            self.wiring.wake_pusher.set()
