"""Detects processes that make no progress."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from django_q.cluster.ipc.state import WorkerState

if TYPE_CHECKING:
    from django_q.cluster.ipc.state import ClusterState
    from django_q.settings import ClusterSettings

    from .pool import Member

STARTING_SECONDS: Final = 60.0
"""Minimum time for a process to start: it may import the whole project first."""

SECOND_SIGNAL_SECONDS: Final = 1.9
"""Time from the second signal to the end of the cluster."""

STOP_MARGIN_SECONDS: Final = 10.0
"""Time after `stop_timeout` at which the sentinel is killed. It exits long before unless it hangs."""

RESUMED_GRACE_SECONDS: Final = 2.0
"""Time for a worker after a pause to end a task whose deadline passed meanwhile."""


class PauseDetector:
    """Detects that this process was suspended, by SIGSTOP or with the whole machine.

    Args:
        longest: maximum time between two calls of `look` that does not count as a pause, in seconds.
    """

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.looked_at = time.monotonic()
        self.resumed_at = 0.0
        """End of the last pause (`time.monotonic`, seconds)."""

    def look(self) -> None:
        """Measure the time since the previous call. Call it once per iteration of a loop."""
        now = time.monotonic()
        if now - self.looked_at > self.longest:
            self.resumed_at = now
        self.looked_at = now


class Guard:
    """Detects processes of the sentinel that make no progress.

    After a pause of the sentinel, each process has its full time again, since it was probably paused, too.
    """

    def __init__(self, settings: ClusterSettings, state: ClusterState) -> None:
        self.seconds = settings.guard_timeout
        self.state = state
        self.pauses = PauseDetector(settings.guard_cycle + self.seconds / 4)

    def look(self) -> None:
        """Detect a pause and record progress. Call it once per iteration of the sentinel."""
        self.pauses.look()
        self.state.heartbeats["sentinel"].beat()

    def is_stalled(self, member: Member) -> bool:
        """Return True if a process has made no progress for `guard_timeout` seconds.

        A running task or hook counts as progress. It has its own deadline.
        """
        if member.process is None or (member.slot is not None and member.slot.state == WorkerState.BUSY):
            return False
        return self.silence(member) > (self.seconds if member.heartbeat.last else max(self.seconds, STARTING_SECONDS))

    def silence(self, member: Member, since: float = 0.0) -> float:
        """Return the time without progress of a process in seconds, from *since* (`time.monotonic`) at the earliest."""
        return time.monotonic() - max(member.heartbeat.last, member.born, self.pauses.resumed_at, since)

    def is_overdue(self, member: Member) -> bool:
        """Return True if a worker has passed its deadline."""
        slot = member.slot
        if slot is None or slot.state in (WorkerState.ABSENT, WorkerState.IDLE):
            return False
        deadline = slot.deadline  # read once: the worker may remove it in between
        grace = self.pauses.resumed_at + RESUMED_GRACE_SECONDS if self.pauses.resumed_at else 0.0
        return deadline > 0.0 and time.monotonic() > max(deadline, grace)


class SentinelGuard:
    """Decides for the outermost process if it must kill the sentinel, which ends the whole cluster."""

    def __init__(self, settings: ClusterSettings, state: ClusterState) -> None:
        self.settings, self.state = settings, state
        self.cycle = min(settings.guard_timeout / 4, 5.0)
        """Maximum time between two checks in seconds."""
        self.pauses = PauseDetector(2 * self.cycle)
        self.began = time.monotonic()
        self.stop_by = self.second_stop_by = math.inf

    def look(self) -> str | None:
        """Return the reason to kill the sentinel as a sentence without subject; None if there is none."""
        self.pauses.look()
        now = time.monotonic()
        if self.state.stop_requests > 0:
            self.stop_by = min(self.stop_by, now + self.settings.stop_timeout + STOP_MARGIN_SECONDS)
        if self.state.stop_requests > 1:
            self.second_stop_by = min(self.second_stop_by, now + SECOND_SIGNAL_SECONDS)
        if now >= self.second_stop_by:
            return "did not end the cluster in time after the second signal"
        if now >= self.stop_by:
            return f"did not end the cluster within stop_timeout ({self.settings.stop_timeout:g} seconds)"
        last, seconds = self.state.heartbeats["sentinel"].last, self.settings.guard_timeout
        if now - max(last, self.began, self.pauses.resumed_at) > (seconds if last else max(seconds, STARTING_SECONDS)):
            return f"made no progress for {seconds:g} seconds"
        return None

    def seconds_to_wait(self) -> float:
        """Return the seconds until the next check, if no signal arrives before."""
        now = time.monotonic()
        return max(0.01, min(self.cycle, self.stop_by - now, self.second_stop_by - now))
