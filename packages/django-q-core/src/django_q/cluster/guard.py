"""Decides which processes make no progress."""

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
"""Least time for a process to start: it may import the whole project first."""

SECOND_SIGNAL_SECONDS: Final = 1.9
"""Time from the second signal to the end of the cluster."""

STOP_MARGIN_SECONDS: Final = 10.0
"""Time beyond `stop_timeout` after which the sentinel is killed: it ends by itself well before."""

GRACE_SECONDS: Final = 2.0
"""Time that a worker gets after a pause to end a task whose deadline passed meanwhile."""


class PauseDetector:
    """Notices that this process itself was frozen, by SIGSTOP or with the whole machine.

    Args:
        longest: seconds between two calls of `look` that are no pause.
    """

    def __init__(self, longest: float) -> None:
        self.longest = longest
        self.looked_at = time.monotonic()
        self.resumed_at = 0.0
        """End of the last pause (`time.monotonic`, seconds)."""

    def look(self) -> None:
        """Call it in each turn of the loop."""
        now = time.monotonic()
        if now - self.looked_at > self.longest:
            self.resumed_at = now
        self.looked_at = now


class Guard:
    """Tells the sentinel which of its processes have stopped working.

    After a pause of the sentinel every process has its full time again: they were probably paused, too.
    """

    def __init__(self, settings: ClusterSettings, state: ClusterState) -> None:
        self.seconds = settings.guard_timeout
        self.state = state
        self.pauses = PauseDetector(settings.guard_cycle + self.seconds / 4)

    def look(self) -> None:
        """Call it in each turn of the sentinel."""
        self.pauses.look()
        self.state.heartbeats["sentinel"].beat()

    def is_stalled(self, member: Member) -> bool:
        """Return True if a process has made no progress for `guard_timeout` seconds.

        A task or hook that runs is progress: its own deadline ends it.
        """
        if member.process is None or (member.slot is not None and member.slot.state == WorkerState.BUSY):
            return False
        return self.silence(member) > (self.seconds if member.heartbeat.last else max(self.seconds, STARTING_SECONDS))

    def silence(self, member: Member, since: float = 0.0) -> float:
        """Return the seconds without progress of a process, not counting what was before `since`."""
        return time.monotonic() - max(member.heartbeat.last, member.born, self.pauses.resumed_at, since)

    def is_overdue(self, member: Member) -> bool:
        """Return True if a worker has passed its deadline."""
        slot = member.slot
        if slot is None or slot.state in (WorkerState.ABSENT, WorkerState.IDLE):
            return False
        deadline = slot.deadline  # read once: the worker may remove it in between
        grace = self.pauses.resumed_at + GRACE_SECONDS if self.pauses.resumed_at else 0.0
        return deadline > 0.0 and time.monotonic() > max(deadline, grace)


class SentinelGuard:
    """Tells the outermost process when the sentinel is to be killed, which ends the whole cluster."""

    def __init__(self, settings: ClusterSettings, state: ClusterState) -> None:
        self.settings, self.state = settings, state
        self.cycle = min(settings.guard_timeout / 4, 5.0)
        """Longest time between two looks (seconds)."""
        self.pauses = PauseDetector(2 * self.cycle)
        self.began = time.monotonic()
        self.stop_by = self.second_stop_by = math.inf

    def look(self) -> str | None:
        """Return the reason to kill the sentinel, as a sentence without subject; None if there is none."""
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
        """Return the seconds until the next look, if no signal comes before."""
        now = time.monotonic()
        return max(0.01, min(self.cycle, self.stop_by - now, self.second_stop_by - now))
