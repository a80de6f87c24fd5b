"""Decides if the processes of a cluster make progress, from its shared memory alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from django_q.cluster.guard import STARTING_SECONDS, PauseDetector
from django_q.cluster.ipc.state import WorkerState

if TYPE_CHECKING:
    from django_q.cluster.ipc.state import ClusterState, Heartbeat

ROLES: Final = ("sentinel", "monitor", "scheduler", "pusher")
"""Processes of which each cluster has one."""

MAX_LOOK_SECONDS: Final = 5.0
"""Maximum time between two looks that is no pause of the whole cluster."""


class Liveness:
    """Reads the heartbeats of a cluster.

    A process that is replaced at once does not make a cluster dead. One that is missing or makes no progress for
    `guard_timeout` seconds does.

    Args:
        state: shared memory of the cluster.
        seconds: the setting `guard_timeout`.
    """

    def __init__(self, state: ClusterState, seconds: float) -> None:
        self.state, self.seconds = state, seconds
        self.since = time.monotonic()
        self.pauses = PauseDetector(MAX_LOOK_SECONDS)
        self.beats: dict[str, float] = {}
        """Time of the last known progress by the name of a process (`time.monotonic`, seconds)."""

    def look(self) -> None:
        """Read the heartbeats. Call it about once a second."""
        self.pauses.look()
        for role in ROLES:
            self._read(role, self.state.heartbeats[role])
        for slot in self.state.slots:
            self._read(f"worker {slot.index}", slot.heartbeat)
            if slot.pid and slot.state == WorkerState.BUSY:
                self.beats[f"worker {slot.index}"] = time.monotonic()  # the task has its own deadline

    def reasons(self) -> list[str]:
        """Return a sentence for each kind of process that does not live; none if the cluster lives."""
        self.look()
        silent = {role: self._silence(role) for role in ROLES}
        workers = [f"worker {slot.index}" for slot in self.state.slots]
        silent["workers"] = min(map(self._silence, workers))
        limits = {role: self._limit(self.state.heartbeats[role].last) for role in ROLES}
        limits["workers"] = self._limit(max(slot.heartbeat.last for slot in self.state.slots))
        return [
            f"The {role} made no progress for {seconds:.0f} seconds."
            for role, seconds in silent.items()
            if seconds > limits[role]
        ]

    def _read(self, name: str, heartbeat: Heartbeat) -> None:
        self.beats[name] = max(self.beats.get(name, 0.0), heartbeat.last)

    def _silence(self, name: str) -> float:
        return time.monotonic() - max(self.beats.get(name, 0.0), self.since, self.pauses.resumed_at)

    def _limit(self, last: float) -> float:
        """Return the maximum time without progress, in seconds: a process that starts has more."""
        return self.seconds if last else max(self.seconds, STARTING_SECONDS)
