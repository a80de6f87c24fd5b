"""Outcomes → saved, acknowledged, followed by what comes next."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, ClassVar

from django_q.brokers import Delivery, get_broker
from django_q.connections import tidy_connections
from django_q.dispatch import Finisher
from django_q.exceptions import BrokerUnavailable, UnreadablePackage, WorkerDied
from django_q.execution import Executor
from django_q.outcome import Outcome
from django_q.results.unavailable import is_unavailable
from django_q.signing import PackageCodec

from . import log
from .backoff import Backoff
from .messages import Death, HookMessage, Kind, TaskMessage, Unreadable, kind_of, pack, unpack
from .process import ClusterProcess, Wiring
from .state import Phase

if TYPE_CHECKING:
    from typing import Any

BATCH = 500
"""Outcomes finished together at the most: a batch is what has arrived, nobody waits for it to fill."""

BATCH_BYTES = 4 * 2**20
"""Their size together, from which no more join them: large ones are not to fill the memory."""

GATHER_SECONDS = 0.002
"""How long outcomes may gather while other tasks wait or run: a larger batch leaves the processor to the workers."""

FLOOD, FLOOD_SECONDS = 16, 0.005
"""So many outcomes in the last batch are a flood, in which they gather for longer: most of them wait anyway."""

ENOUGH = 100
"""Where so many outcomes wait already none gathers: the workers would soon find no room for theirs."""

HOOK_SECONDS = 0.02
"""How often it is tried whether a worker has room for a hook that waits."""


class Monitor(ClusterProcess):
    """Finishes outcomes in batches; what cannot be finished now is kept until it can."""

    role: ClassVar[str] = "monitor"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self.tasks, self.results = wiring.tasks, wiring.results
        self.codec = PackageCodec.of(self.settings)
        self.executor = Executor(self.settings)
        self.hooks: deque[HookMessage] = deque()
        self.unreadable: list[Unreadable] = []
        self.outcomes: list[Outcome] = []
        self.saved: list[Outcome] = []
        self.size = 0
        """Bytes of the outcomes that are to be finished."""
        self.last_batch = 0
        self.pause = 0.0
        self.backoff = Backoff()
        self.retry_at = 0.0
        self.renew_at = 0.0
        self.told_to_stop = False

    def start(self) -> None:
        """Take the broker."""
        self.broker = get_broker(settings=self.settings)
        self.finisher = Finisher(self.settings, self.broker, hook=self._queue_hook)
        log.monitoring(self.name)

    def step(self) -> bool:
        """Receive, finish what can be finished, and hand on hooks."""
        self._receive()
        self._settle()
        self._send_hooks()
        self._look_after_iters()
        return not self.told_to_stop or (self._unfinished() and not self._given_up())

    def stop(self) -> None:
        """Run the hooks that found no worker any more."""
        for message in self.hooks:  # the workers are gone
            self.finisher.run_hook(message.finished)
        self.state.hooks = 0
        log.stopped_monitoring(self.name)

    # in

    def _receive(self) -> None:
        """Collect what has arrived, sleeping only when there is nothing else to do."""
        if self._unfinished():
            self.results.wait(self.retry_at - time.monotonic())
        elif self.hooks:
            self.results.wait(HOOK_SECONDS)
        elif not self.told_to_stop:
            if self.finisher.has_surplus and not self.results.wait(self.pause):
                self._prune()
                return
            message = self.results.receive()
            if message is None:
                tidy_connections(idle=True)
                return
            self._accept(message)
            if self.state.busy and self.state.unsaved < ENOUGH:
                time.sleep(FLOOD_SECONDS if self.last_batch >= FLOOD else GATHER_SECONDS)
        while (len(self.outcomes) < BATCH and self.size < BATCH_BYTES) or self.backoff.failures:
            message = self.results.receive(block=False)
            if message is None:
                return
            self._accept(message)

    def _prune(self) -> None:
        """Delete a portion of the surplus; between two of them others may write, where one writes at a time."""
        began = time.monotonic()
        self.finisher.prune()
        self.pause = (time.monotonic() - began) / 2

    def _unfinished(self) -> bool:
        return bool(self.outcomes or self.saved or self.unreadable)

    def _accept(self, message: bytes) -> None:
        if kind_of(message) == Kind.STOP:
            self.told_to_stop = True
            return
        match unpack(message):
            case Outcome() as outcome:
                self.state.received += 1
                self.outcomes.append(outcome)
                self.size += len(message)
            case Unreadable() as unreadable:
                self.state.received += 1
                self.unreadable.append(unreadable)
            case Death() as death:
                self._record(death)

    def _record(self, death: Death) -> None:
        """Make an outcome for a worker that did not live to send one."""
        if kind_of(death.message) == Kind.HOOK:
            log.hook_died(self.name, death.reason)
            return
        task = TaskMessage.unpack(death.message)
        try:
            package = self.codec.loads(task.package)
        except UnreadablePackage as error:
            self.unreadable.append(Unreadable(task.ack_id, task.package, str(error)))
            return
        if death.interrupted and task.ack_id is not None:
            self._expire(task.ack_id, package)
            return
        outcome = self.executor.died(
            package,
            death.reason,
            error=WorkerDied(death.reason),
            ack_id=task.ack_id,
            attempt=task.attempt,
        )
        self.outcomes.append(outcome)

    def _expire(self, ack_id: Any, package: dict[str, Any]) -> None:
        log.interrupted(self.name, package)
        try:
            self.broker.expire(ack_id)
        except BrokerUnavailable as error:
            log.not_given_back(self.name, 1, error)

    # out

    def _settle(self) -> None:
        if not self._unfinished() or time.monotonic() < self.retry_at:
            return
        try:
            self._finish()
        except Exception as error:  # a process's edge: what is not a matter of waiting ends the process
            if not isinstance(error, BrokerUnavailable) and not is_unavailable(error):
                raise
            self._wait_and_retry(error)
        else:
            self.retry_at = 0.0
            if self.backoff.succeeded():
                self.state.paused = 0
                log.saving_again(self.name)

    def _finish(self) -> None:
        """Each stage empties its list before the next begins: what is tried again is only what failed."""
        if self.outcomes:
            self.last_batch = len(self.outcomes)
            self.saved += self.finisher.save(self.outcomes)
            self.outcomes, self.size = [], 0
        if self.saved:
            self.finisher.acknowledge(self.saved)
            saved, self.saved = self.saved, []
            self.finisher.announce(saved)
        while self.unreadable:
            self._bury(self.unreadable[0])
            del self.unreadable[0]

    def _look_after_iters(self) -> None:
        if self.backoff.failures:
            return
        try:
            self.finisher.look_after_iters()
        except Exception as error:  # as above; the next look makes good what this one could not do
            if not isinstance(error, BrokerUnavailable) and not is_unavailable(error):
                raise

    def _wait_and_retry(self, error: Exception) -> None:
        if self.backoff.failed():
            self.state.paused = 1
            log.cannot_save(self.name, error)
        tidy_connections(idle=True)
        now = time.monotonic()
        self.retry_at = now + self.backoff.seconds
        if now >= self.renew_at:
            self.renew_at = now + self.settings.retry / 3
            self._renew()

    def _renew(self) -> None:
        """Keep the leases of what waits to be saved: nobody else knows of it."""
        held = [outcome.ack_id for outcome in (*self.outcomes, *self.saved) if outcome.ack_id is not None]
        if held and self.broker.supports_renewal:
            try:
                self.broker.renew(held)
            except BrokerUnavailable:
                return  # it has been logged that something is away

    def _bury(self, unreadable: Unreadable) -> None:
        log.unreadable(self.name, unreadable.reason)
        self.broker.bury(Delivery(unreadable.ack_id, unreadable.package))

    def _given_up(self) -> bool:
        """Whether the cluster stops and the database or the broker is still away: the leases bring the tasks back."""
        given_up = self.told_to_stop and self.backoff.failures > 3
        if given_up:
            log.not_saved(self.name, len(self.outcomes) + len(self.saved))
        return given_up

    # hooks

    def _queue_hook(self, finished: str) -> None:
        self.hooks.append(HookMessage(finished))

    def _send_hooks(self) -> None:
        while self.hooks and self.state.phase < Phase.STOPPING:
            if not self.tasks.send(pack(Kind.HOOK, self.hooks[0])):
                break
            self.hooks.popleft()
        self.state.hooks = len(self.hooks)
