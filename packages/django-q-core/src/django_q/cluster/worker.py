"""Task → outcome: verifies, unpacks and runs one task after another."""

from __future__ import annotations

import sys
import time
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, cast

from django_q import signals
from django_q.connections import tidy_connections
from django_q.context import stamp_records
from django_q.dispatch import Finisher
from django_q.exceptions import NoAttemptsLeft, UnreadablePackage
from django_q.execution import Executor
from django_q.signing import PackageCodec
from django_q.timeout import TaskTimer, timeout_of
from django_q.wire.metadata import peek

from . import log
from .affinity import pin
from .channels import INLINE, RECEIVE_SECONDS
from .memory import current_rss_kb
from .messages import HookMessage, Kind, TaskMessage, Unreadable, kind_of, pack, unpack
from .process import ClusterProcess, Wiring
from .state import WorkerState

if TYPE_CHECKING:
    from django_q.package import TaskPackage

GRACE = 2.0
"""Seconds between the exception inside a task that runs too long and the end of its worker."""

MEASURE_EVERY = 1.0
"""Seconds between two looks at the memory in use."""


class Worker(ClusterProcess):
    """Runs tasks, and the hooks of tasks, one at a time."""

    role: ClassVar[str] = "worker"

    def __init__(self, wiring: Wiring, index: int) -> None:
        super().__init__(wiring)
        self.index = index
        self.slot = wiring.state.slots[index]
        self.tasks, self.results = wiring.tasks, wiring.results
        self.codec = PackageCodec.of(self.settings)
        self.timer = TaskTimer()
        self.executor = Executor(self.settings, self.timer)
        self.count = 0
        self.measured = 0.0

    @cached_property
    def finisher(self) -> Finisher:
        """What runs hooks: most workers never see one."""
        return Finisher(self.settings, broker=None)

    def start(self) -> None:
        """Make the process ready for tasks of any kind."""
        if self.settings.cpu_affinity:
            pin(self.index, self.settings.cpu_affinity)
        self.timer.install()
        stamp_records()
        signals.emit(signals.post_spawn, proc_name=self.name)
        self.slot.state = WorkerState.IDLE
        log.ready(self.name)

    def step(self) -> bool:
        """Do what one message asks for."""
        message = self.tasks.receive()
        if message is None:
            tidy_connections(idle=True)
            return True
        match kind_of(message):
            case Kind.TASK:
                self._task(message)
            case Kind.HOOK:
                self._hook(message)
            case Kind.STOP:
                return False
        if len(message) > INLINE:
            self.slot.clear_desk()
        return not self._worn_out()

    def stop(self) -> None:
        """Say goodbye."""
        log.stopped_working(self.name)

    # work

    def _task(self, message: bytes) -> None:
        task = TaskMessage.unpack(message)
        now = time.monotonic()
        self.slot.begin(message, now, task.number)
        if self.state.wake_at and task.number >= self.state.wake_at:
            self.wiring.hungry.ring()
        if self._lease_is_over(task, now):
            log.lease_over(self.name)
            self.slot.finish(sent=False)
            return
        try:
            if 0 < self.settings.max_attempts < task.attempt:
                self._refuse(task)
                return
            package: TaskPackage = self.codec.loads(task.package)
            if not isinstance(package, dict) or not {"id", "name", "func"} <= package.keys():
                raise UnreadablePackage("A signed package that holds no task: it was not made by async_task().")
        except UnreadablePackage as error:
            self._send(pack(Kind.UNREADABLE, Unreadable(task.ack_id, task.package, str(error))))
            return
        seconds = timeout_of(package, self.settings)
        if seconds is not None:
            self.slot.deadline = now + seconds + GRACE
        log.processing(self.name, package)
        outcome = self.executor.execute(package, ack_id=task.ack_id, attempt=task.attempt)
        self._send(pack(Kind.OUTCOME, outcome))
        self.count += 1
        tidy_connections()

    def _refuse(self, task: TaskMessage) -> None:
        """Record a task without remaining attempts as failed; neither it nor its arguments get to do anything again.

        Raises:
            UnreadablePackage: there is no task in it.
        """
        package = cast("TaskPackage", peek(self.codec, task.package))
        attempt = task.attempt - 1
        reason = (
            f"no attempts left: attempt {attempt} of {self.settings.max_attempts} ended without an outcome, "
            "because its whole cluster was killed or lost the lease"
        )
        outcome = self.executor.died(package, reason, error=NoAttemptsLeft(reason), ack_id=task.ack_id, attempt=attempt)
        self._send(pack(Kind.OUTCOME, outcome))

    def _hook(self, message: bytes) -> None:
        now = time.monotonic()
        self.slot.begin(message, now)
        work = unpack(message)
        assert isinstance(work, HookMessage)
        if self.settings.timeout:
            self.slot.deadline = now + self.settings.timeout + GRACE
        with self.timer.running(self.settings.timeout):
            self.finisher.run_hook(work.finished)
        self.slot.finish(sent=False)
        tidy_connections()

    def _send(self, message: bytes) -> None:
        self.slot.sending()
        while not self.results.send(message, wait=RECEIVE_SECONDS):
            pass  # the monitor is behind: wait, with the task still on the desk
        self.slot.finish(sent=True)

    def _lease_is_over(self, task: TaskMessage, now: float) -> bool:
        """Whether somebody else may have been given this task by now, because the cluster was frozen for too long."""
        if not task.leased:
            return False
        # In this order: the pusher takes back what is lost before it says that leases were renewed. What it believed to
        # wait no more, while it was in this worker's hand, it may have found lost, or not renewed.
        renewed, withdrawn = self.state.renewed, self.state.withdrawn
        last = renewed if task.number > withdrawn else task.leased
        return now > max(task.leased, last) + self.settings.retry

    # end

    def _worn_out(self) -> bool:
        """Whether it is time for a fresh worker."""
        worn = bool(self.settings.recycle and self.count >= self.settings.recycle) or self._too_big()
        if worn:
            self.slot.state = WorkerState.RECYCLED
        return worn

    def _too_big(self) -> bool:
        if self.settings.max_rss is None:
            return False
        now = time.monotonic()
        if now - self.measured < MEASURE_EVERY and self.count % 10:
            return False
        self.measured = now
        rss = current_rss_kb()
        return rss is not None and rss >= self.settings.max_rss


if sys.platform == "win32":  # pragma: no cover
    raise ImportError("The cluster needs Unix sockets; on Windows use the `sync` setting.")
