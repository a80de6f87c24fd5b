"""Tasks that the workers of a cluster execute now, for its statistics."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django_q.clock import now
from django_q.cluster.ipc.messages import Kind, TaskMessage, kind_of
from django_q.cluster.ipc.state import WorkerState
from django_q.exceptions import UnreadablePackage
from django_q.text import truncated
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import peek
from django_q.wire.option_values import PATH_CHARACTERS

if TYPE_CHECKING:
    from django_q.cluster.ipc.state import ClusterState, Slot
    from django_q.settings import ClusterSettings

MIN_RUN_SECONDS: Final = 1.0
"""Time after which a task is published. Shorter ones would have ended before anyone reads the statistics."""

MAX_PACKAGE_BYTES: Final = 2**20
"""Size up to which a package is read, because the process has other work. A larger one is published without a name."""


class CurrentTasks:
    """Reads the metadata of running tasks from shared memory, each task once.

    Args:
        settings: settings of the cluster.
        state: shared memory of the cluster.
    """

    def __init__(self, settings: ClusterSettings, state: ClusterState) -> None:
        self.codec, self.state = PackageCodec.of(settings), state
        self.known: dict[int, tuple[tuple[float, int], dict[str, Any] | None]] = {}
        """Start and worker of the last message of each slot, and its values; None if it is no task."""

    def read(self) -> list[dict[str, Any]]:
        """Return plain values for each worker that has executed a task for `MIN_RUN_SECONDS`.

        Returns:
            Dicts with the keys of `Stat.tasks`.
        """
        latest = time.monotonic() - MIN_RUN_SECONDS
        return [
            values
            for slot in self.state.slots
            if slot.state == WorkerState.BUSY and slot.since <= latest and (values := self._values(slot)) is not None
        ]

    def _values(self, slot: Slot) -> dict[str, Any] | None:
        """Return the values of a worker's task; None if it has ended, or the worker does other work."""
        since = slot.since
        known = self.known.get(slot.index)
        if known is not None and known[0] == (since, slot.pid):
            return known[1]
        message = slot.message()
        if slot.state != WorkerState.BUSY or slot.since != since:
            return None  # the worker may have replaced the message meanwhile
        values = None
        if kind_of(message) == Kind.TASK:
            began = now() - timedelta(seconds=time.monotonic() - since)
            values = {"worker": slot.pid, "started": began, **self._metadata(TaskMessage.unpack(message).package)}
        self.known[slot.index] = (since, slot.pid), values
        return values

    def _metadata(self, signed: bytes) -> dict[str, Any]:
        """Return the metadata of a package; empty texts if it is unreadable or large."""
        found: dict[str, Any] = {}
        if len(signed) <= MAX_PACKAGE_BYTES:
            with suppress(UnreadablePackage):
                found = peek(self.codec, signed)
        return {
            "id": found.get("id", ""),
            "name": found.get("name", ""),
            "func": truncated(found.get("func", ""), PATH_CHARACTERS),
            "track": found.get("track", False),
        }
