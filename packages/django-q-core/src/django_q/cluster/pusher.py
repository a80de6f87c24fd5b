"""Broker → workers: takes packages under a lease, passes them on unread, and keeps the leases alive."""

from __future__ import annotations

import itertools
import math
import signal
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django_q.brokers import get_broker
from django_q.cluster.ipc.channels import RECEIVE_SECONDS
from django_q.cluster.ipc.messages import Kind, TaskMessage, kind_of
from django_q.cluster.ipc.state import Phase, WorkerState
from django_q.cluster.prefetch import LATE_SECONDS, Prefetch
from django_q.exceptions import BrokerUnavailable
from django_q.pacing import FIRST_SECONDS, Backoff

from . import log
from .process import ClusterProcess, Wiring
from .statistics import Publisher

MAX_UNSAVED_OUTCOMES: Final = 1_000
"""Outcomes that wait to be saved beyond which nothing is fetched: the monitor is behind. A flood leaves 800 at most."""

HELD_BACK_SECONDS: Final = 0.1
"""Seconds between two looks whether the monitor has caught up."""

MAX_PAUSE_SECONDS: Final = 1.0
"""Maximum time between two attempts to reach a broker while leases are held: they are renewed soon after it is back."""

RETURN_SECONDS: Final = 1.0
"""Time before the end of a stop in which tasks without a receipt are sent to the broker again."""

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from django_q.brokers import AckId, Broker, Delivery


class Pusher(ClusterProcess):
    """Keeps as many packages waiting for the workers as `queue_limit` allows."""

    role: ClassVar[str] = "pusher"
    renew_at: float = 0.0
    """When leases are renewed next (`time.monotonic`, seconds)."""
    retry_at: float = 0.0
    """When a broker that was unavailable is tried again (`time.monotonic`, seconds)."""
    leases_vary: bool = False
    """True if leases may be shorter than `retry`."""

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self.tasks = wiring.tasks
        self.limit = self.settings.queue_limit
        self.pushed_at = 0.0
        self.held: dict[int, Any] = {}
        """Number → ack id of each task whose lease is ours to renew."""
        self.missing: set[int] = set()
        self.renew_every = self.settings.retry / 3
        self.backoff = Backoff()
        self.answered = False
        """True if the broker has done what this step asked last."""
        self.warned = False
        """True if the warnings about the broker's server are in the log."""
        self.stopping = False
        self.unsent: list[TaskMessage] = []
        """What found no room before the cluster stopped."""

    def start(self) -> None:
        """Take the broker, and over from a pusher before."""
        self.use(get_broker(settings=self.settings))
        signal.signal(signal.SIGTERM, self._stop)
        self.warned = self.state.pushed > 0  # the pusher before has reached the broker
        self._adopt()
        self.renew_at = time.monotonic()  # the process before may have been blocked for long
        log.pushing(self.name)

    def use(self, broker: Broker) -> None:
        """Fetch from *broker*."""
        self.broker = broker
        self.leases_vary = broker.leases_vary
        self.window = Prefetch(self.limit, ahead=broker.supports_prefetch)
        self.publisher = Publisher(self.name, self.wiring, broker, here=broker.keeps_statistics)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True
        self.wiring.hungry.ring()

    def _stops(self) -> bool:
        return self.stopping or self.state.phase >= Phase.STOPPING

    def step(self) -> bool:
        """Fetch as much as there is room for, and keep the leases alive."""
        if self._stops():
            return False
        if time.monotonic() < self.retry_at:
            self.wiring.hungry.wait(min(RECEIVE_SECONDS, self.retry_at - time.monotonic()))
            return True
        self.answered = False
        try:
            if not self.warned:
                self._warn()
            self._renew_when_due()
            self.window.pace(self.state.sent, time.monotonic())
            room = self._room()
            if self._is_late():
                pass  # renew again first: a fetch would take the expired leases of running tasks
            elif room >= self.window.size - self.window.low:
                self._push(self._fetch(room))
            else:
                self._wait_for_room()
            self._publish_when_due()
        except BrokerUnavailable as error:
            self._back_off(error)
        else:
            if self.answered and self.backoff.succeeded():
                log.broker_back(self.name)
        return True

    def _warn(self) -> None:
        """Log what in the configuration of the broker's server endangers packages."""
        for warning in self.broker.server_warnings():
            log.server_warning(self.name, warning)
        self.warned = True

    def _is_late(self) -> bool:
        """Return True if the broker took so long to renew leases that they are due again."""
        return bool(self.held) and time.monotonic() >= self.renew_at

    def _fetch(self, room: int) -> list[Delivery]:
        """Fetch packages; if the broker was blocked meanwhile, keep those whose leases can be renewed."""
        wait = self._seconds_to_wait()
        began = time.monotonic()
        deliveries = self.broker.dequeue_many(room, wait=wait)
        self.answered = True
        seconds = time.monotonic() - began
        if not deliveries or not self.broker.supports_renewal:
            return deliveries
        if seconds <= wait + self._interval(delivery.ack_id for delivery in deliveries):
            return deliveries
        leases = [delivery.ack_id for delivery in deliveries if delivery.ack_id is not None]
        lost = set(self.broker.renew(leases)) if leases else set()
        return [delivery for delivery in deliveries if delivery.ack_id is None or delivery.ack_id not in lost]

    def _back_off(self, error: BrokerUnavailable) -> None:
        self.answered = False
        if self.backoff.failed():
            log.broker_gone(self.name, error)
        seconds = self.backoff.seconds
        if self.held:
            interval = self._interval(self.held.values())
            seconds = min(seconds, MAX_PAUSE_SECONDS, max(interval / 2, FIRST_SECONDS))
        self.retry_at = time.monotonic() + seconds
        self.renew_at = 0.0

    def stop(self) -> None:
        """Give back what has not begun, and publish once more that the cluster stops."""
        self._give_back()
        if not self.broker.supports_receipts:
            self._send_again_what_remains()
        if not self.backoff.failures:
            self.publisher.publish()
        log.stopped_pushing(self.name)

    # room

    def _room(self) -> int:
        return 0 if self._is_held_back() else self.window.size - self.state.waiting

    def _is_held_back(self) -> bool:
        """Return True if the monitor is behind: nothing new is fetched until it has caught up."""
        state = self.state
        if state.paused or state.unsaved + state.backlog - state.postponed > MAX_UNSAVED_OUTCOMES:
            return True
        return state.hooks > self.limit + self.settings.workers

    def _wait_for_room(self) -> None:
        """Sleep until most of the queue is taken: then one fetch brings many."""
        seconds = self._seconds_to_wait()
        if held_back := self._is_held_back():
            seconds = min(seconds, HELD_BACK_SECONDS)
        surplus = self.window.ahead and self.state.waiting > self.limit
        if surplus:
            seconds = min(seconds, max(0.0, self.pushed_at + LATE_SECONDS - time.monotonic()))
        self.state.wake_at = self.state.pushed - self.window.low
        rung = True
        if self.state.taken < self.state.wake_at or self.state.hooks or held_back:
            rung = self.wiring.hungry.wait(seconds)
        self.state.wake_at = 0
        if surplus and not rung and self.pushed_at + LATE_SECONDS <= time.monotonic():
            self._give_back_surplus()

    def _seconds_to_wait(self) -> float:
        due = math.inf if self.backoff.failures else self.publisher.due
        if self.held:
            due = min(due, max(self.renew_at, self.retry_at))
        return min(RECEIVE_SECONDS, max(0.0, due - time.monotonic()))

    # tasks

    def _push(self, deliveries: list[Delivery]) -> None:
        now = time.monotonic()
        for ack_id, package, attempt in deliveries:
            leased = now if ack_id is not None else 0.0
            body = package.encode() if isinstance(package, str) else package
            self._push_task(leased, ack_id, body, attempt)
        if self.leases_vary and self.held:
            self.renew_at = min(self.renew_at, now + self._interval(self.held.values()))
        self._forget_passed()
        self.window.fetched(deliveries)
        self.pushed_at = time.monotonic()

    def _push_task(self, leased: float, ack_id: AckId | None, package: bytes, attempt: int) -> None:
        number = self.state.pushed + 1
        if ack_id is not None and self.broker.supports_renewal:
            self.held[number] = ack_id
        self.state.pushed = number
        task = TaskMessage(number, leased, ack_id, package, attempt)
        if not self._send(task.pack(), patient=ack_id is None):
            self.unsent.append(task)

    def _send(self, message: bytes, *, patient: bool = True) -> bool:
        """Send a message as soon as there is room; while the cluster stops, only if it is `patient` and there is time.

        Leases that cannot be renewed meanwhile are no reason to lose the message.
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
        return 0.0 < self.state.stop_by < time.monotonic() + RETURN_SECONDS

    # statistics

    def _publish_when_due(self) -> None:
        if not self.backoff.failures:  # or a server that is silent would be waited for twice
            self.publisher.step()

    # leases

    def _renew_when_due(self) -> None:
        """Renew all leases; `renew_at` moves when it has succeeded, so that a failure is made good at once.

        After a failure of any kind they are renewed as soon as the broker is tried again, which shows that it is back.
        """
        now = time.monotonic()
        if now < max(self.retry_at, self.renew_at):
            return
        self._forget_finished()
        lost: set[Any] = set()
        if self.held:
            lost = set(self.broker.renew(list(self.held.values())))
            self.answered = True
        self.renew_at = now + self._interval(self.held.values())
        if lost:
            self._drop({number for number, ack_id in self.held.items() if ack_id in lost})
        self.state.renewed = now

    def _interval(self, leases: Iterable[AckId]) -> float:
        """Return the time between two renewals in seconds: a third of the shortest of these leases, or of `retry`."""
        if not self.leases_vary:
            return self.renew_every
        return min((self.broker.lease_seconds(ack_id) / 3 for ack_id in leases), default=self.renew_every)

    def _drop(self, lost: set[int]) -> None:
        """Take back from the workers what somebody else has by now, before they are told that leases were renewed."""
        for number in lost:
            del self.held[number]
        tasks = self._withdraw()
        dropped = [task for task in tasks if task.number in lost]
        self._push_again([task for task in tasks if task.number not in lost])
        if dropped:
            log.leases_lost(self.name, len(dropped))

    def _forget_passed(self) -> None:
        """Forget the tasks after which every worker has begun another one."""
        passed = min(slot.taken for slot in self.state.slots)
        for number in list(itertools.takewhile(passed.__gt__, self.held)):
            del self.held[number]

    def _forget_finished(self) -> None:
        """Stop renewing what no worker has in hand.

        A task that is neither waiting nor on a desk has been finished: its outcome is with the monitor. Between taking
        a task and laying it on the desk a worker needs an instant, so a task must be missing twice.
        """
        if not self.tasks.wait(0):
            self.state.withdrawn = self.state.pushed  # a worker may have died with the last of them in its hand
        taken = max(self.state.taken, self.state.withdrawn)
        working = (WorkerState.BUSY, WorkerState.SENDING)
        on_desks = {slot.taken for slot in self.state.slots if slot.state in working}
        missing = {number for number in self.held if number <= taken and number not in on_desks}
        for number in missing & self.missing:
            del self.held[number]
        self.missing = missing

    # beginning and end

    def _adopt(self) -> None:
        """Take over from a pusher that died: what waits is sent again under new numbers, what runs is renewed."""
        for slot in self.state.slots:
            if slot.state == WorkerState.BUSY:
                message = slot.message()
                if message and kind_of(message) == Kind.TASK:
                    task = TaskMessage.unpack(message)
                    if task.ack_id is not None and self.broker.supports_renewal:
                        self.held[task.number] = task.ack_id
        self._push_again(self._withdraw())

    # taking back

    def _withdraw(self) -> list[TaskMessage]:
        """Take all tasks that no worker has begun back from the channel."""
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

    def _push_again(self, tasks: list[TaskMessage]) -> None:
        """Offer tasks to the workers again, under new numbers."""
        for task in tasks:
            self.held.pop(task.number, None)
            self._push_task(*task[1:])

    def _give_back_surplus(self) -> None:
        """Return what was fetched ahead, and has not begun, because the tasks take longer than was thought."""
        tasks = self._withdraw()
        without_receipt = [task for task in tasks[self.limit :] if task.ack_id is None]
        surplus = [task for task in tasks[self.limit :] if task.ack_id is not None]
        self.window.slow()
        self._push_again(tasks[: self.limit] + without_receipt)
        try:
            self._release(surplus)
        except BrokerUnavailable:
            self._push_again(surplus)
            raise

    def _give_back(self) -> None:
        """Return what no worker has begun; without receipts nobody would bring it back, so it stays and is run."""
        tasks = self._withdraw()
        back = [task for task in tasks if task.ack_id is not None]
        self._push_again([task for task in tasks if task.ack_id is None])
        try:
            self._release(back)
        except BrokerUnavailable as error:
            log.not_given_back(self.name, len(back), error)

    def _send_again_what_remains(self) -> None:
        """Let the workers begin tasks without a receipt; send those to the broker again that have not begun in time."""
        while self.tasks.wait(0) and not self._is_out_of_time():
            self.heartbeat.beat()
            self.wiring.hungry.wait(HELD_BACK_SECONDS)
        tasks = self._withdraw()
        for position, task in enumerate(tasks):
            try:
                self.broker.enqueue(task.package.decode())
            except BrokerUnavailable as error:
                log.not_given_back(self.name, len(tasks) - position, error)
                self._push_again(tasks[position:])
                return

    def _release(self, tasks: list[TaskMessage]) -> None:
        if tasks:
            self.broker.release_many([task.ack_id for task in tasks])
            for task in tasks:
                self.held.pop(task.number, None)
