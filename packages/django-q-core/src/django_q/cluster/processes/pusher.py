"""Fetches packages from the broker for the workers, and renews their leases."""

from __future__ import annotations

import math
import os
import signal
import time
from typing import TYPE_CHECKING, ClassVar, Final

from django_q.brokers import consuming_broker
from django_q.cluster.ipc.channels import RECEIVE_SECONDS
from django_q.cluster.ipc.messages import Kind, TaskMessage, kind_of
from django_q.cluster.ipc.state import Phase, WorkerState
from django_q.cluster.leases import TaskLeases
from django_q.cluster.prefetch import MAX_SURPLUS_AGE_SECONDS, Prefetch
from django_q.cluster.process import ClusterProcess, Wiring
from django_q.cluster.statistics import Publisher
from django_q.exceptions import BrokerUnavailable
from django_q.log import messages as log
from django_q.pacing import MIN_BACKOFF_SECONDS, Backoff

if TYPE_CHECKING:
    from types import FrameType

    from django_q.brokers import AckId, Broker, Delivery

MAX_UNSAVED_OUTCOMES: Final = 1_000
"""Maximum number of unsaved outcomes while packages are fetched (back-pressure). At high load, there are up to 800."""

BACK_PRESSURE_POLL_SECONDS: Final = 0.1
"""Interval of the checks if back-pressure has ended."""

MAX_PAUSE_SECONDS: Final = 1.0
"""Maximum pause between two attempts during an outage while leases are held, so that they are renewed soon after it."""

REQUEUE_SECONDS: Final = 1.0
"""Time at the end of a stop in which unstarted tasks without a receipt are sent to the broker again."""

MAX_LOADING_SECONDS: Final = 2.0
"""Maximum time until the scheduler has read the commands. Until then, nothing is fetched: a task may be cancelled."""

LOADING_POLL_SECONDS: Final = 0.01
"""Interval of the checks meanwhile."""

BURST_EMPTY_FETCHES: Final = 2
"""Number of fetches in a row that end a burst. Some products answer one fetch before all packages are visible."""


class Pusher(ClusterProcess):
    """Keeps `queue_limit` packages prefetched for the workers. It does not unpickle them."""

    role: ClassVar[str] = "pusher"
    fetch_at: float = 0.0
    """Time of the first fetch, even if the commands are not read yet (`time.monotonic`, seconds)."""
    retry_at: float = 0.0
    """Time of the next attempt during an outage of the broker (`time.monotonic`, seconds)."""

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self.tasks = wiring.tasks
        self.limit = self.settings.queue_limit
        self.pushed_at = 0.0
        self.backoff = Backoff()
        self.answered = False
        """True if the last request of this step to the broker succeeded."""
        self.warned = False
        """True if the warnings about the broker's server were logged."""
        self.stopping = False
        self.empty_fetches = 0
        """Number of the last fetches of a burst, in a row, for which nothing was due."""
        self.unsent: list[TaskMessage] = []
        """Tasks for which the channel had no room before the cluster stopped."""

    def start(self) -> None:
        """Connect to the broker and adopt the leases of a dead predecessor."""
        self.use(consuming_broker(self.settings))
        signal.signal(signal.SIGTERM, self._stop)
        self.warned = self.state.pushed > 0  # the predecessor has logged them
        self._adopt()
        self.fetch_at = time.monotonic() + MAX_LOADING_SECONDS
        self.leases.renew_at = time.monotonic()  # the predecessor may have been blocked for long

    def announce(self) -> None:
        """Log that the pusher is ready."""
        log.pusher.ready(self.name)

    def use(self, broker: Broker) -> None:
        """Use *broker* for all requests."""
        self.broker = broker
        self.leases = TaskLeases(broker, self.state, self.settings.retry)
        self.window = Prefetch(self.limit, may_exceed=broker.supports_prefetch)
        self.publisher = Publisher(self.name, self.wiring, broker, here=broker.keeps_statistics)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True
        self.wiring.wake_pusher.set()

    def _stops(self) -> bool:
        return self.stopping or self.state.phase >= Phase.STOPPING

    def step(self) -> bool:
        """Fetch packages if the window has room, and renew leases."""
        if self._stops():
            return False
        if time.monotonic() < self.retry_at:
            self.wiring.wake_pusher.wait(min(RECEIVE_SECONDS, self.retry_at - time.monotonic()))
            return True
        self.answered = False
        try:
            if not self.warned:
                self._warn()
            self._renew_when_due()
            self.window.measure(self.state.sent, time.monotonic())
            room = self._room()
            if self.leases.is_late:
                pass  # renew again first: a fetch would take the expired leases of running tasks
            elif not self.wiring.marks.are_loaded and time.monotonic() < self.fetch_at:
                self.wiring.wake_pusher.wait(LOADING_POLL_SECONDS)
            elif room >= self.window.size - self.window.low_water_mark:
                quiet = bool(self.state.burst) and self.state.quiet
                deliveries = self._fetch(room)
                self._push(deliveries)
                self._end_burst(empty=quiet and not deliveries)
            else:
                self._wait_for_room()
            self._publish_when_due()
        except BrokerUnavailable as error:
            self._back_off(error)
        else:
            if self.answered and self.backoff.succeeded():
                log.pusher.broker_available(self.name)
        return True

    def _end_burst(self, *, empty: bool) -> None:
        """Ask the outermost process of a burst to stop, when nothing was due at some fetches in a row.

        Args:
            empty: True if all tasks were done before the last fetch, and it returned nothing.
        """
        self.empty_fetches = self.empty_fetches + 1 if empty else 0
        if self.empty_fetches == BURST_EMPTY_FETCHES:
            os.kill(self.state.parent, signal.SIGTERM)

    def _warn(self) -> None:
        """Log risks for packages in the configuration of the broker's server."""
        for warning in self.broker.server_warnings():
            log.pusher.server_warning(self.name, warning)
        self.warned = True

    def _fetch(self, room: int) -> list[Delivery]:
        """Fetch packages; if the broker was blocked meanwhile, keep those whose leases can be renewed."""
        wait = self._seconds_to_wait()
        began = time.monotonic()
        deliveries = self.broker.dequeue_many(room, wait=wait)
        self.answered = True
        seconds = time.monotonic() - began
        if not deliveries or not self.broker.supports_renewal:
            return deliveries
        if seconds <= wait + self.leases.interval.shortest(delivery.ack_id for delivery in deliveries):
            return deliveries
        leases = [delivery.ack_id for delivery in deliveries if delivery.ack_id is not None]
        lost = set(self.broker.renew(leases)) if leases else set()
        return [delivery for delivery in deliveries if delivery.ack_id is None or delivery.ack_id not in lost]

    def _back_off(self, error: BrokerUnavailable) -> None:
        self.answered = False
        if self.backoff.failed():
            log.pusher.broker_unavailable(self.name, error)
        seconds = self.backoff.seconds
        if self.leases.held:
            seconds = min(seconds, MAX_PAUSE_SECONDS, max(self.leases.seconds / 2, MIN_BACKOFF_SECONDS))
        self.retry_at = time.monotonic() + seconds
        self.leases.renew_at = 0.0

    def stop(self) -> None:
        """Release unstarted tasks, and publish the state of the cluster once more."""
        self._release_unstarted()
        if not self.broker.supports_receipts:
            self._requeue_remaining()
        if not self.backoff.failures:
            self.publisher.publish()
        log.pusher.stopped(self.name)

    # room

    def _room(self) -> int:
        return 0 if self._has_back_pressure() else self.window.size - self.state.waiting

    def _has_back_pressure(self) -> bool:
        """Return True if the monitor is behind, so that nothing is fetched until it has caught up."""
        state = self.state
        if state.paused or state.unsaved + state.backlog - state.postponed > MAX_UNSAVED_OUTCOMES:
            return True
        return state.hooks > self.limit + self.settings.workers

    def _wait_for_room(self) -> None:
        """Wait until the low-water mark is reached, so that one fetch returns a batch."""
        seconds = self._seconds_to_wait()
        if back_pressure := self._has_back_pressure():
            seconds = min(seconds, BACK_PRESSURE_POLL_SECONDS)
        surplus = self.window.may_exceed and self.state.waiting > self.limit
        if surplus:
            seconds = min(seconds, max(0.0, self.pushed_at + MAX_SURPLUS_AGE_SECONDS - time.monotonic()))
        self.state.wake_at = self.state.pushed - self.window.low_water_mark
        woken = True
        if self.state.taken < self.state.wake_at or self.state.hooks or back_pressure:
            woken = self.wiring.wake_pusher.wait(seconds)
        self.state.wake_at = 0
        if surplus and not woken and self.pushed_at + MAX_SURPLUS_AGE_SECONDS <= time.monotonic():
            self._release_surplus()

    def _seconds_to_wait(self) -> float:
        due = math.inf if self.backoff.failures else self.publisher.due
        if self.leases.held:
            due = min(due, max(self.leases.renew_at, self.retry_at))
        return min(RECEIVE_SECONDS, max(0.0, due - time.monotonic()))

    # tasks

    def _push(self, deliveries: list[Delivery]) -> None:
        now = time.monotonic()
        for ack_id, package, attempt in deliveries:
            leased = now if ack_id is not None else 0.0
            body = package.encode() if isinstance(package, str) else package
            self._push_task(leased, ack_id, body, attempt)
        self.leases.began(now)
        self.leases.forget_passed()
        self.window.fetched(deliveries)
        self.pushed_at = time.monotonic()

    def _push_task(self, leased: float, ack_id: AckId | None, package: bytes, attempt: int) -> None:
        number = self.state.pushed + 1
        if ack_id is not None and self.broker.supports_renewal:
            self.leases.held[number] = ack_id
        self.state.pushed = number
        task = TaskMessage(number, leased, ack_id, package, attempt)
        if not self._send(task.pack(), patient=ack_id is None):
            self.unsent.append(task)

    def _send(self, message: bytes, *, patient: bool = True) -> bool:
        """Send a message to the workers and wait for room. An outage of the broker does not end the wait.

        Args:
            message: message for a worker.
            patient: True to wait until the end of the stop; False to give up when the stop begins.

        Returns:
            False if the message was not sent.
        """
        wait = 0.0
        while not self.tasks.send(message, wait=wait):
            if self._stops() and (not patient or self._is_out_of_time()):
                return False
            self.heartbeat.beat()
            try:
                self._renew_when_due()
            except BrokerUnavailable as error:
                self._back_off(error)
            self._publish_when_due()
            wait = self._seconds_to_wait()
        return True

    def _is_out_of_time(self) -> bool:
        return 0.0 < self.state.stop_by < time.monotonic() + REQUEUE_SECONDS

    # statistics

    def _publish_when_due(self) -> None:
        if not self.backoff.failures:  # during an outage, the step would wait for the server twice
            self.publisher.step()

    # leases

    def _renew_when_due(self) -> None:
        """Renew all leases if that is due. `renew_at` only changes after a success.

        So after a failure, the renewal is the first request of the next attempt. It shows if the outage has ended.
        """
        now = time.monotonic()
        if now < max(self.retry_at, self.leases.renew_at):
            return
        if not self.tasks.wait(0):
            self.state.withdrawn = self.state.pushed  # a worker may have died between receipt and record
        self.leases.forget_finished()
        asked = bool(self.leases.held)
        if lost := self.leases.renew():
            self._drop(lost)
        self.answered = self.answered or asked
        self.state.renewed = now

    def _drop(self, lost: set[int]) -> None:
        """Withdraw tasks whose lease was lost, before the renewal is announced to the workers."""
        tasks = self._withdraw()
        dropped = [task for task in tasks if task.number in lost]
        if self.wiring.tallies is not None:
            running = [slot.taken for slot in self.state.slots if slot.state == WorkerState.BUSY]
            self.wiring.tallies.lost_leases["pusher"].add(len(dropped) + len(lost.intersection(running)))
        self._renumber([task for task in tasks if task.number not in lost])
        if dropped:
            log.lease.expired(self.name, len(dropped))

    # start

    def _adopt(self) -> None:
        """Adopt the tasks of a pusher that died: renew the running ones, send the waiting ones under new numbers."""
        for slot in self.state.slots:
            if slot.state == WorkerState.BUSY:
                message = slot.message()
                if message and kind_of(message) == Kind.TASK:
                    task = TaskMessage.unpack(message)
                    if task.ack_id is not None and self.broker.supports_renewal:
                        self.leases.held[task.number] = task.ack_id
        self._renumber(self._withdraw())

    # release

    def _withdraw(self) -> list[TaskMessage]:
        """Withdraw all unstarted tasks from the channel."""
        last = self.state.pushed
        tasks, others = [], []
        while (message := self.tasks.receive(block=False)) is not None:
            if kind_of(message) == Kind.TASK:
                tasks.append(TaskMessage.unpack(message))
            else:
                others.append(message)
        self.state.withdrawn = last
        for message in others:
            self._send(message)
        unsent, self.unsent = self.unsent, []
        return tasks + unsent

    def _renumber(self, tasks: list[TaskMessage]) -> None:
        """Send tasks to the workers again, under new numbers."""
        for task in tasks:
            self.leases.held.pop(task.number, None)
            self._push_task(*task[1:])

    def _release_surplus(self) -> None:
        """Release prefetched tasks beyond `queue_limit` that did not start in time."""
        tasks = self._withdraw()
        without_receipt = [task for task in tasks[self.limit :] if task.ack_id is None]
        surplus = [task for task in tasks[self.limit :] if task.ack_id is not None]
        self.window.shrink()
        self._renumber(tasks[: self.limit] + without_receipt)
        try:
            self._release(surplus)
        except BrokerUnavailable:
            self._renumber(surplus)
            raise

    def _release_unstarted(self) -> None:
        """Release unstarted tasks. Tasks without a receipt cannot be redelivered, so they stay and are executed."""
        tasks = self._withdraw()
        released = [task for task in tasks if task.ack_id is not None]
        self._renumber([task for task in tasks if task.ack_id is None])
        try:
            self._release(released)
        except BrokerUnavailable as error:
            log.lease.not_released(self.name, len(released), error)

    def _requeue_remaining(self) -> None:
        """Wait until workers have begun the tasks without a receipt; enqueue those that have not begun in time."""
        while self.tasks.wait(0) and not self._is_out_of_time():
            self.heartbeat.beat()
            self.wiring.wake_pusher.wait(BACK_PRESSURE_POLL_SECONDS)
        tasks = self._withdraw()
        for position, task in enumerate(tasks):
            try:
                self.broker.enqueue(task.package.decode())
            except BrokerUnavailable as error:
                log.lease.not_released(self.name, len(tasks) - position, error)
                self._renumber(tasks[position:])
                return

    def _release(self, tasks: list[TaskMessage]) -> None:
        if tasks:
            self.broker.release_many([task.ack_id for task in tasks])
            for task in tasks:
                self.leases.held.pop(task.number, None)
