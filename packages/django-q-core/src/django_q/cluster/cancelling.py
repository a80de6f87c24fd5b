"""Interrupts running tasks that are cancelled."""

from __future__ import annotations

import math
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from django_q.cluster.ipc.messages import Cancel, Kind, TaskMessage, kind_of, unpack
from django_q.cluster.ipc.state import GRACE_SECONDS, WorkerState
from django_q.exceptions import UnreadablePackage
from django_q.log import messages as log
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import peek
from django_q.wire.targets import cancellable_since, targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pool import Member
    from .process import Wiring

CANCELLED: Final = "the task was cancelled and did not end"
"""Reason for the kill of a worker whose task did not end after its cancellation."""

CANCEL_SIGNAL: Final = signal.SIGURG
"""Signal to a worker whose task is cancelled. Processes that do not handle it ignore it."""


class Canceller:
    """Part of the sentinel. It reads the metadata of running tasks, without importing code of the project.

    Args:
        name: name of the process, for the log.
        wiring: of the cluster.
    """

    def __init__(self, name: str, wiring: Wiring) -> None:
        self.name, self.channel = name, wiring.commands
        self.codec = PackageCodec.of(wiring.settings)
        self.interrupted: dict[int, tuple[int, float]] = {}
        """Task number, and time at which the worker is killed (`time.monotonic`, seconds), by the slot's index."""

    @property
    def file(self) -> int:
        """File descriptor that becomes readable when there is a command."""
        return self.channel.files()[0]

    @property
    def due(self) -> float:
        """Time at which the next worker is killed (`time.monotonic`, seconds)."""
        return min((kill_at for _, kill_at in self.interrupted.values()), default=math.inf)

    def step(self, workers: Sequence[Member]) -> None:
        """Interrupt the running tasks of new commands, and kill workers whose grace period is over."""
        while (message := self.channel.receive(block=False)) is not None:
            command = unpack(message)
            assert isinstance(command, Cancel)
            for member in workers:
                self.interrupt(member, command)
        if self.interrupted:
            self.kill_overdue(workers)

    def interrupt(self, member: Member, command: Cancel) -> None:
        """Interrupt the task of a worker if a command cancels it."""
        slot = member.slot
        if slot is None or slot.state != WorkerState.BUSY or slot.index in self.interrupted:
            return
        message, number = slot.message(), slot.taken
        if kind_of(message) != Kind.TASK or not self.is_target(TaskMessage.unpack(message).package, command):
            return
        slot.cancelled = number
        self.interrupted[slot.index] = number, time.monotonic() + GRACE_SECONDS
        with suppress(ProcessLookupError):
            os.kill(slot.pid, CANCEL_SIGNAL)

    def is_target(self, signed: bytes, command: Cancel) -> bool:
        """Return True if a command cancels the task of a package."""
        try:
            package = peek(self.codec, signed)
        except UnreadablePackage:
            return False
        return (command.kind, command.target) in targets_of(package) and cancellable_since(package) <= command.created

    def kill_overdue(self, workers: Sequence[Member]) -> None:
        """Kill the workers whose cancelled task has not ended in time, and forget the tasks that have ended."""
        now = time.monotonic()
        for member in workers:
            slot = member.slot
            if slot is None or slot.index not in self.interrupted:
                continue
            number, kill_at = self.interrupted[slot.index]
            if slot.state != WorkerState.BUSY or slot.taken != number:
                del self.interrupted[slot.index]
            elif now >= kill_at:
                del self.interrupted[slot.index]
                member.kill(CANCELLED)
                log.worker.cancelled(member.name)
