"""Worker process: verifies, unpickles and executes tasks, one at a time."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.utils import timezone

from django_q import reporters, signals
from django_q.brokers import shared_broker
from django_q.cluster import sessions
from django_q.cluster.cancelling import CANCEL_SIGNAL
from django_q.cluster.ipc.channels import MAX_INLINE_BYTES, RECEIVE_SECONDS
from django_q.cluster.ipc.messages import (
    FollowedUp,
    FollowUp,
    Kind,
    Returned,
    TaskMessage,
    Unreadable,
    kind_of,
    pack,
    unpack,
)
from django_q.cluster.ipc.state import GRACE_SECONDS, Slot, WorkerState
from django_q.cluster.isolation import Baseline
from django_q.cluster.look_ups import CannotLookUp, LookUps
from django_q.cluster.metrics.counting import CountingSlot
from django_q.cluster.process import ClusterProcess, Wiring, ignore_signals
from django_q.cluster.system.affinity import pin
from django_q.cluster.system.memory import current_rss_kb
from django_q.cluster.system.process_group import kill_children, kill_other_members, lead_group
from django_q.databases.connections import close_after
from django_q.exceptions import NoAttemptsLeft, OptionError, TaskCancelled, UnreadablePackage
from django_q.execution import Executor
from django_q.execution.timeout import TaskTimer
from django_q.finishing import Finisher, is_last
from django_q.log import messages as log
from django_q.text import class_path, sentence_of
from django_q.wire.codec import PackageCodec
from django_q.wire.metadata import ENDED_PROCESS, peek, without_arguments
from django_q.wire.options import normalise_package
from django_q.wire.package import own_ack_failure
from django_q.wire.targets import targets_of
from django_q.wire.tracking import Attempted, Started, worker_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from types import FrameType

    from django_q.wire.outcome import Outcome
    from django_q.wire.package import TaskPackage

EXIT_SECONDS: Final = 5.0
"""Maximum time from the end of the work to the exit of the process. Then the sentinel kills it."""

MIN_UNPICKLE_SECONDS: Final = 8.0
"""Minimum time limit to unpickle a package, which may import modules, if the timeout of the cluster is shorter."""

MEASURE_SECONDS: Final = 1.0
"""Interval between two measurements of the worker's memory and open files."""


class WorkerTimer(TaskTimer):
    """Timer that also sets the deadline at which the sentinel kills this worker, if a task ignores the exception."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self.slot = slot

    def limited(self, seconds: float | None) -> None:
        """Set the deadline, or remove it if there is no limit."""
        self.slot.deadline = 0.0 if seconds is None else time.monotonic() + seconds + GRACE_SECONDS


class Worker(ClusterProcess):
    """Executes tasks and follow-ups, one at a time."""

    role: ClassVar[str] = "worker"
    limits_cache_calls: ClassVar[bool] = False  # calls would need a thread, and tasks may fork

    def __init__(self, wiring: Wiring, index: int) -> None:
        self.slot = wiring.state.slots[index]
        if wiring.tallies is not None:
            self.slot = CountingSlot(self.slot, wiring.tallies.started[index])
        super().__init__(wiring, self.slot.heartbeat)
        self.index = index
        self.pid = os.getpid()
        self.tasks, self.results = wiring.tasks, wiring.results
        self.codec = PackageCodec.of(self.settings)
        self.timer = WorkerTimer(self.slot)
        worker = worker_name(wiring.cluster_id, self.name)
        self.look_ups = LookUps(self.name, self.settings, self.state, self.slot, self.timer)
        self.executor = Executor(self.settings, self.timer, worker, self._is_last)
        self.count = 0
        self.measured = 0.0
        self.group_is_left = False
        """True if programs of a task that timed out may still run, so that this worker is replaced."""
        self.number = 0
        """Number of the task in progress."""
        self.woken_at = 0
        """The low-water mark for which the pusher was woken last."""

    @cached_property
    def unpickle_seconds(self) -> float:
        """Maximum time to unpickle a package in seconds."""
        limit = self.settings.import_timeout
        timeout = self.settings.timeout
        return limit if timeout is None else min(limit, max(timeout, MIN_UNPICKLE_SECONDS))

    @cached_property
    def baseline(self) -> Baseline:
        """The state of this process that is restored after each task."""
        return Baseline([self.results.files()[1], self.tasks.files()[0]])

    @cached_property
    def finisher(self) -> Finisher:
        """Runs hooks and receivers. Created on first use, because most workers never need it."""
        return Finisher(self.settings, broker=None)

    def start(self) -> None:
        """Prepare the process: group, affinity, timer, sessions and the state to restore."""
        lead_group()
        if self.settings.cpu_affinity:
            pin(self.index, self.settings.cpu_affinity)
        self.timer.install()
        ignore_signals(signal.SIGPROF, signal.SIGVTALRM)  # a timer that a task leaves would end the next one
        signal.signal(CANCEL_SIGNAL, self._cancel)
        reporters.start(self.settings)
        signals.emit(signals.post_spawn, proc_name=self.name)
        sessions.end(idle=True)
        self.baseline.restore()
        self.executor.imported = self.baseline.keep_imported
        self.slot.state = WorkerState.IDLE

    def announce(self) -> None:
        """Log that the worker is ready."""
        log.worker.ready(self.name)

    def step(self) -> bool:
        """Receive one message, and execute its task or follow-up."""
        message = self.tasks.receive()
        if message is None:
            sessions.end(idle=True)
            return True
        match kind_of(message):
            case Kind.TASK:
                self._task(message)
            case Kind.FOLLOW_UP:
                self._follow_up(message)
            case Kind.STOP:
                return False
        sessions.end()
        if len(message) > MAX_INLINE_BYTES:
            self.slot.trim_buffer()
        return not self.group_is_left and not self._must_recycle()

    def stop(self) -> None:
        """Announce the exit, and do not wait for `multiprocessing` children that tasks left behind."""
        if not self.group_is_left:  # after a regular exit, the sentinel would not kill the group
            self.slot.exit_by(time.monotonic() + EXIT_SECONDS)
        kill_children()
        log.worker.stopped(self.name)

    # tasks

    def _task(self, message: bytes) -> None:
        task = TaskMessage.unpack(message)
        now = time.monotonic()
        self.number, self.executor.cancelled = task.number, False
        self.slot.begin(message, now, task.number)
        self._wake_pusher_at_low_water(task.number)
        if self._lease_is_over(task, now):
            log.lease.expired_before_start(self.name)
            self.slot.finish(sent=False)
            return
        try:
            outcome = self._outcome(task)
        except CannotLookUp as error:
            self._send(pack(Kind.RETURNED, Returned(task.ack_id, error.pause)), outcome=False)
            self.baseline.is_damaged |= not error.pause
            return
        except UnreadablePackage as error:
            self._send(pack(Kind.UNREADABLE, Unreadable(task.ack_id, task.package, sentence_of(error))))
            return
        self._send(pack(Kind.OUTCOME, outcome))
        self.count += 1
        if self.executor.exception is not None:
            close_after(self.executor.exception)

    def _outcome(self, task: TaskMessage) -> Outcome:
        """Execute a task, unless it has no attempt left or has succeeded before. Then restore the state of the worker.

        Raises:
            CannotLookUp: the task may have succeeded before.
            UnreadablePackage: no worker can read the package.
        """
        try:
            return self._attempt(task)
        finally:
            self._clean_up()

    def _attempt(self, task: TaskMessage) -> Outcome:
        if 0 < self.settings.max_attempts < task.attempt:
            last = task._replace(attempt=task.attempt - 1)
            reason = (
                f"no attempts left: attempt {last.attempt} of {self.settings.max_attempts} ended without an outcome, "
                "because its whole cluster was killed or lost the lease"
            )
            return self._failed(last, reason, NoAttemptsLeft(reason))
        try:
            package = self._unpickled(task)
        except UnreadablePackage:
            raise
        except OptionError as error:
            return self._failed(task, sentence_of(error), error, final=True)
        except BaseException as error:  # noqa: BLE001 - an argument may raise anything while it is unpickled
            return self._failed(task, f"{sentence_of(error)} : {ENDED_PROCESS}", error, unpickling=True)
        if self.wiring.marks.any and self._is_cancelled(package):
            return self._cancelled(task, package)
        if task.attempt > 1 and (finished := self.look_ups.earlier_success(package)) is not None:
            saved_attempt = finished.get("attempt_count", 1)
            outcome = self.executor.builder.build(finished, ack_id=task.ack_id, attempt=saved_attempt)
            value = json.dumps(finished["result"]) if "backend" in package else None
            attempted = Attempted(None, None, json=value) if package.get("track") else None
            return outcome._replace(repeated=True, attempted=attempted)
        log.task.processing(self.name, package, task.attempt)
        started = self._announce_start(package, task.attempt) if package.get("track") else None
        return self.executor.execute(package, ack_id=task.ack_id, attempt=task.attempt, started=started)

    def _cancel(self, signum: int, frame: FrameType | None) -> None:
        """Handle the signal of the sentinel: interrupt the task in progress if it is the cancelled one."""
        if self.slot.cancelled == self.number:
            self.executor.cancel()

    def _is_cancelled(self, package: TaskPackage) -> bool:
        """Return True if a task was cancelled while it waited.

        Raises:
            CannotLookUp: the database is unavailable.
        """
        return self.wiring.marks.may_have(targets_of(package)) and self.look_ups.is_cancelled(package)

    def _cancelled(self, task: TaskMessage, package: TaskPackage) -> Outcome:
        """Create the outcome of a task that was cancelled before it started."""
        error = TaskCancelled()
        outcome = self.executor.builder.failed(
            package,
            sentence_of(error),
            ack_id=task.ack_id,
            attempt=task.attempt,
            final=True,
            exception_class=class_path(error),
        )
        return outcome._replace(cancelled=True)

    def _is_last(self, package: Mapping[str, Any], attempt: int) -> bool:
        """Return True if no attempt of a task follows a failed one."""
        return is_last(own_ack_failure(package), attempt, settings=self.settings, broker=shared_broker(self.settings))

    def _announce_start(self, package: TaskPackage, attempt: int) -> datetime:
        """Tell the monitor that a tracked task starts. If the channel is full, its outcome tells. Return the start."""
        started = Started(package["id"], attempt, self.executor.worker, timezone.now())
        self.results.send(pack(Kind.STARTED, started), wait=0)
        return started.moment

    def _unpickled(self, task: TaskMessage) -> TaskPackage:
        """Verify and unpickle a package. If this exceeds `unpickle_seconds`, the sentinel kills the worker."""
        self.slot.begin_unpickling(time.monotonic() + self.unpickle_seconds + GRACE_SECONDS)
        try:
            package: TaskPackage = self.codec.loads(task.package)
        finally:
            self._end_copy()
        if not isinstance(package, dict) or not {"id", "name", "func"} <= package.keys():
            raise UnreadablePackage("A signed package without a task: it was not made by async_task().")
        if "stopped" in package:  # the public editions sign results in the cache like packages
            raise UnreadablePackage("A finished task, not one to execute: it was copied from a cache to the queue.")
        package = normalise_package(package)  # runs the code of labels that are objects
        self.slot.end_unpickling()
        return package

    def _failed(
        self, task: TaskMessage, reason: str, error: BaseException, *, final: bool = False, unpickling: bool = False
    ) -> Outcome:
        """Create and report the failure of a task that did not run."""
        package = peek(self.codec, task.package)
        if unpickling:
            package = without_arguments(package)
        reporters.report_about(self.settings, error, package, task.attempt)
        return self.executor.builder.failed(
            package,
            reason,
            ack_id=task.ack_id,
            attempt=task.attempt,
            final=final,
            worker=self.executor.worker,
            exception_class=class_path(error),
        )

    # follow-ups

    def _follow_up(self, message: bytes) -> None:
        """Run the hook and the receivers of a finished task, or report the death of a worker."""
        self.slot.begin(message, time.monotonic())
        work = unpack(message)
        assert isinstance(work, FollowUp)
        try:
            with self.timer.running(self.settings.timeout):
                if work.report is not None:
                    reporters.report_about(self.settings, work.report, work.metadata, work.attempt)
                if work.finished is not None:
                    self.finisher.run_follow_up(work.finished)
        finally:
            self._clean_up()
        if work.key:
            self._send(pack(Kind.FOLLOWED_UP, FollowedUp(work.key)), outcome=False)
        else:
            self.slot.finish(sent=False)

    def _send(self, message: bytes, *, outcome: bool = True) -> None:
        self.slot.sending()
        while not self.results.send(message, wait=RECEIVE_SECONDS):
            self.heartbeat.beat()  # the result channel is full: keep the task in flight and try again
        self.slot.finish(sent=outcome)

    def _clean_up(self) -> None:
        """End what a task or follow-up has left behind, and restore the state of this process."""
        self._end_copy()
        self._end_group_after_timeout()
        self.baseline.restore()

    def _end_copy(self) -> None:
        """Exit if this process is a fork of the worker, made by a task, in which the code of the task has ended."""
        if os.getpid() != self.pid:
            os._exit(0)

    def _end_group_after_timeout(self) -> None:
        """Kill the programs of a task that timed out. If that is not possible, the sentinel does it."""
        if self.timer.fired:
            self.timer.fired = False
            self.group_is_left = not kill_other_members()

    def _wake_pusher_at_low_water(self, number: int) -> None:
        """Wake the pusher at its low-water mark, once per mark."""
        mark = self.state.wake_at
        if mark and number >= mark and mark != self.woken_at:
            self.woken_at = mark
            self.wiring.wake_pusher.set()

    def _lease_is_over(self, task: TaskMessage, now: float) -> bool:
        """Return True if the lease may have expired while the cluster was suspended."""
        if not task.leased:
            return False
        # Read in this order: the pusher withdraws lost tasks before it announces the renewal. A task that this worker
        # has received during a withdrawal may be lost, or not renewed.
        renewed, withdrawn = self.state.renewed, self.state.withdrawn
        last = renewed if task.number > withdrawn else task.leased
        return now > max(task.leased, last) + self.settings.retry

    # end

    def _must_recycle(self) -> bool:
        """Return True if the worker should be recycled; record it in the slot."""
        used_up = bool(self.settings.recycle and self.count >= self.settings.recycle)
        worn = used_up or self.baseline.is_damaged or self._has_grown()
        if worn:
            self.slot.state = WorkerState.RECYCLED
        return worn

    def _has_grown(self) -> bool:
        """Return True if memory or open files exceed their limits, or a file of the worker was replaced.

        Measured each `MEASURE_SECONDS`, or ten tasks.
        """
        now = time.monotonic()
        if now - self.measured < MEASURE_SECONDS and (self.settings.max_rss is None or self.count % 10):
            return False
        self.measured = now
        if self.baseline.has_leaked_files():
            log.worker.leaked_files(self.name)
            return True
        if not self.baseline.interpreter.has_copies():
            return True
        if self.settings.max_rss is None:
            return False
        rss = current_rss_kb()
        return rss is not None and rss >= self.settings.max_rss
