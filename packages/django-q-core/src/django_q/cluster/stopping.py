"""Stop procedure: ends the processes of a cluster in order and within a time limit."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from django_q.cluster.ipc.messages import STOP
from django_q.cluster.ipc.state import Phase, WorkerState
from django_q.log import messages as log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .pool import Member
    from .sentinel import Sentinel

INTERRUPTED = "the stop of the cluster"
"""Reason for the kill of a worker whose task did not end within `stop_timeout`."""

MONITOR_SECONDS: Final = 4.0
"""Extra time for the monitor to save the last results."""

HUNG_SECONDS: Final = 4.0
"""Time without progress after which a pusher or scheduler is killed that should stop."""

WORKER_SECONDS: Final = 1.0
"""Minimum time for an idle worker to exit."""

KILL_SECONDS: Final = 1.0
"""Maximum time to wait for killed processes. A process in an uninterruptible system call does not end."""

QUIET_SECONDS: Final = 0.05
"""Time without work after which workers may end. A worker may have received a message and not recorded it yet."""

CYCLE_SECONDS: Final = 0.1
"""Maximum sleep of the sentinel while it stops."""

DRAIN_CYCLE_SECONDS: Final = 0.02
"""Maximum sleep of the sentinel while it waits for the end of work, which no event signals."""

HURRY_SECONDS: Final = {"pusher": 0.4, "workers": 0.6, "monitor": 1.2, "rest": 1.5}
"""End of each phase of a stop, in seconds after the second signal."""


class StopProcedure:
    """Steps of a stop, each with a time limit. Meanwhile, the sentinel continues the supervision.

    Running tasks have `stop_timeout` seconds to end. After a second signal, or when the parent died, they are
    interrupted at once.

    Args:
        sentinel: sentinel of the cluster.
    """

    def __init__(self, sentinel: Sentinel) -> None:
        self.sentinel = sentinel
        self.state, self.wiring, self.pool = sentinel.state, sentinel.wiring, sentinel.pool
        self.began = time.monotonic()
        self.stop_by = self.began + sentinel.settings.stop_timeout
        """Time at which running tasks are interrupted (`time.monotonic`, seconds)."""
        self.hurried_at = math.inf
        """Time at which the second signal was noticed (`time.monotonic`, seconds)."""
        self.quiet_since: float | None = None
        self.received, self.received_at = self.state.received, self.began
        """Number of outcomes that the monitor has received, and the time at which its change was noticed."""

    def run(self) -> None:
        """Stop the pusher, which releases packages, then workers, monitor and scheduler."""
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
        """Wait for the pusher while it makes progress. It waits until all tasks without a receipt have begun."""
        pusher = self.pool.pusher
        self._until(lambda: self._is_gone_or_hangs(pusher), "pusher", [self.pool.monitor], extra=HUNG_SECONDS)
        self._kill([pusher], "it did not stop pushing in time")

    def _drain(self) -> None:
        """Keep the workers until they have no work. The monitor sends them follow-ups of saved tasks."""
        self._until(self._is_quiet, "workers", [*self.pool.workers, self.pool.monitor], longest=DRAIN_CYCLE_SECONDS)

    def _is_quiet(self) -> bool:
        """Return True if there has been no task, outcome or follow-up in progress for `QUIET_SECONDS`."""
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
        """Return True if the monitor has completed a step since it received an outcome: its flags are current."""
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
        """Kill the workers that still run a task."""
        for worker in self.pool.workers:
            slot = worker.slot
            if worker.alive and worker.killed_for is None and slot is not None and slot.state == WorkerState.BUSY:
                worker.kill(INTERRUPTED)
                log.worker.interrupted(worker.name)

    def _stop_monitor(self) -> None:
        """Stop the monitor after it has received the last death."""
        monitor, deaths = self.pool.monitor, self.sentinel.deaths

        def sent() -> bool:
            return not deaths and self.wiring.results.send(STOP)

        if self._until(sent, "monitor", [monitor], extra=MONITOR_SECONDS):
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
        """Continue the supervision until a condition is true.

        Args:
            done: condition that ends the wait.
            phase: a key of `HURRY_SECONDS`.
            wanted: processes that are replaced if they end meanwhile.
            extra: minimum time limit in seconds, even if `stop_timeout` is over.
            longest: maximum time between two checks in seconds.

        Returns:
            False if the time limit was reached before.
        """
        least = time.monotonic() + extra
        while not done():
            self._interrupt_if_urgent()
            left = min(max(self.stop_by, least), self.hurried_at + HURRY_SECONDS[phase]) - time.monotonic()
            if left <= 0:
                return False
            self.sentinel.step(wanted, min(left, longest))
        return True

    def _interrupt_if_urgent(self) -> None:
        """Interrupt running tasks at once after a second signal, or when the parent has died."""
        if (self.sentinel.orphaned or self.state.stop_requests > 1) and self.hurried_at == math.inf:
            self.hurried_at = time.monotonic()
            self.stop_by = self.state.stop_by = min(self.stop_by, self.hurried_at)
            self.wiring.wake_pusher.set()
