"""Saves outcomes, sends follow-ups to workers, and acknowledges packages."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import connections, router

from django_q.brokers import Delivery, consuming_broker
from django_q.cluster.activity import ActivityWriter, numbers_of
from django_q.cluster.ipc.channels import RECEIVE_SECONDS
from django_q.cluster.ipc.messages import (
    Death,
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
from django_q.cluster.ipc.state import Phase
from django_q.cluster.lease_keeper import LeaseKeeper
from django_q.cluster.leases import RenewalInterval
from django_q.cluster.metrics.counting import CountingFinisher
from django_q.cluster.process import ClusterProcess, Wiring
from django_q.cluster.watchdog import Wait, Watchdog
from django_q.databases.connections import close_connections, keep_connections
from django_q.databases.errors import is_unavailable
from django_q.databases.sqlite import release_pages
from django_q.exceptions import BrokerError, BrokerUnavailable, UnreadablePackage, WorkerDied
from django_q.execution.outcome_builder import OutcomeBuilder
from django_q.finishing import Finisher
from django_q.log import messages as log
from django_q.models import Batch, Schedule, Task
from django_q.pacing import Backoff
from django_q.records.attempts import LOST_CLASS
from django_q.results.store import Place, place_of
from django_q.text import one_line
from django_q.wire.metadata import peek, without_arguments
from django_q.wire.outcome import Outcome
from django_q.wire.tracking import Started, worker_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django_q.exceptions import TaskError

MAX_BATCH_OUTCOMES = 500
"""Maximum number of outcomes in a batch."""

MAX_BATCH_BYTES = 4 * 2**20
"""Size from which a batch accepts no more outcomes. It limits the memory of large ones."""

GATHER_SECONDS = 0.002
"""Time to collect outcomes while tasks are queued or running: larger batches cost less."""

HIGH_LOAD_OUTCOMES, HIGH_LOAD_GATHER_SECONDS = 16, 0.005
"""If the previous batch had this many outcomes, the next one is collected for longer."""

MAX_GATHER_OUTCOMES = 100
"""With this many queued outcomes, the monitor does not wait for more: a full channel would block the workers."""

FOLLOW_UP_POLL_SECONDS = 0.02
"""Interval between two attempts to send a follow-up to the workers while their channel is full."""

MAX_POSTPONED_BYTES, OUTCOME_BYTES = 64 * 2**20, 6_000
"""Maximum size of outcomes that wait for an unavailable cache while tasks are fetched; size of one without its value.

The latter is more than its memory, because each outcome has a lease that must be renewed.
"""

CUT_SHARE = 0.5
"""Share of `guard_timeout` after which a connection without answer is cut. A killed monitor would lose outcomes."""

RECORD_LEASE_SHARES = 3
"""Number of extensions of a running task's record within its lease."""

MAX_EXTEND_SECONDS = 20.0
"""Maximum interval of these extensions."""

MAX_STOP_FAILURES = 3
"""Maximum number of failures in a row while the cluster stops. Then the monitor gives up."""


class Lane:
    """Outcomes that wait for the same server. Each server can be unavailable independently of the others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcomes: list[Outcome] = []
        self.backoff = Backoff()
        self.retry_at = 0.0

    @property
    def is_due(self) -> bool:
        """True if there are outcomes and an attempt is due."""
        return bool(self.outcomes) and time.monotonic() >= self.retry_at


class Monitor(ClusterProcess):
    """Finishes outcomes in batches. While a server is unavailable, it keeps the outcomes and renews their leases.

    It runs no code of the project: outcomes are plain values, `peek` reads the packages of dead workers, and hooks,
    receivers and error reporters run in workers. Receivers of `pre_save` and `post_save` of `Task` are the exception.
    """

    role: ClassVar[str] = "monitor"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self.tasks, self.results = wiring.tasks, wiring.results
        self.builder = OutcomeBuilder(self.settings)
        self.lock = threading.Lock()
        """Held while messages are received and lists change. The lease keeper receives while this thread is blocked."""
        self.database, self.cache, self.queue = Lane("database"), Lane("cache"), Lane("broker")
        self.lanes = (self.database, self.cache, self.queue)
        self.deaths: list[Death] = []
        self.unreadable: list[Unreadable] = []
        self.returned: list[Any] = []
        self.kept: list[tuple[float, Any]] = []
        """Packages that no worker could begin: time of the release (`time.monotonic`, seconds) and ack id."""
        self.follow_ups: deque[FollowUp] = deque()
        self.following: dict[str, Outcome] = {}
        """Outcomes whose follow-up waits or runs, by the key of the follow-up."""
        self.done: list[Outcome] = []
        self.starts: dict[str, Started] = {}
        """Starts of tracked tasks that are not written yet, by the id of the task."""
        self.running: set[str] = set()
        """Ids of tracked tasks that run."""
        self.extend_at = 0.0
        """Time of the next extension of their leases (`time.monotonic`, seconds)."""
        self.size = 0
        """Size of the outcomes received since the last batch, in bytes."""
        self.last_batch = 0
        self.saving = Wait(self.settings.guard_timeout * CUT_SHARE)
        self.is_stopping = False
        self.numbers = itertools.count(1)
        self.keeper: LeaseKeeper | None = None

    def start(self) -> None:
        """Create the broker and start the thread that renews leases."""
        self.broker = consuming_broker(self.settings)
        tallies = self.wiring.tallies
        if tallies is None:
            self.finisher = Finisher(self.settings, self.broker, self._report)
        else:
            self.finisher = CountingFinisher(self.settings, self.broker, tallies, self._report)
        if self.broker.supports_renewal:
            self.keeper = LeaseKeeper(
                self.name,
                self._own_broker,
                RenewalInterval.of(self.broker, self.settings.retry),
                self._collect_while_blocked,
                renewed=lambda: self.state.renewed,
                lost=None if tallies is None else tallies.lost_leases["monitor"].add,
            )
            self.keeper.start()
        self.saving.aliases = {router.db_for_write(model) for model in (Task, Batch, Schedule)}
        if self.broker.alias is not None:
            self.saving.aliases.add(self.broker.alias)
        waits = [self.saving] if self.keeper is None else [self.saving, self.keeper.renewing]
        self.watchdog = Watchdog(self.name, *waits)
        self.watchdog.start()

    def announce(self) -> None:
        """Log that the monitor is ready."""
        log.monitor.ready(self.name)

    def _own_broker(self) -> Any:
        return consuming_broker(self.settings)

    def step(self) -> bool:
        """Receive messages, finish outcomes and send follow-ups to workers."""
        self._receive()
        self._return_kept()
        self._settle()
        self._send_follow_ups()
        self._keep_records()
        self._publish_state()
        return not self.is_stopping or (self._unfinished() and not self._given_up())

    def stop(self) -> None:
        """Release packages whose follow-up was not executed. The cluster that receives them executes it."""
        self.watchdog.stop()
        if self.keeper is not None:
            self.keeper.stop()
        waiting = [outcome for outcome in self.following.values() if outcome.ack_id is not None]
        if waiting:
            log.hook.not_run(self.name, len(waiting))
        if unfinished := [*(outcome.ack_id for outcome in waiting), *(ack_id for _, ack_id in self.kept)]:
            try:
                self.broker.release_many(unfinished)
            except BrokerError as error:
                log.lease.not_released(self.name, len(unfinished), error)
        self.state.hooks = 0
        if self.state.saved and not self._unfinished():
            self.finisher.store.database.prune()  # the scheduler has ended, and with it the maintenance
        if self.is_stopping:
            self._write_activity()
        log.monitor.stopped(self.name)

    def _write_activity(self) -> None:
        """Write the activity since the end of the scheduler. An error loses only these numbers."""
        try:
            ActivityWriter(self.state, self.wiring.cluster_id).finish()
        except Exception as error:  # noqa: BLE001 - routers are code of the project
            log.monitor.activity_not_written(self.name, error)

    # receiving

    def _receive(self) -> None:
        """Receive the messages in the channel. Wait only if there is no other work."""
        if self._unfinished():
            self.results.wait(min(RECEIVE_SECONDS, self._next_attempt_at() - time.monotonic()))
        elif self.follow_ups:
            self.results.wait(FOLLOW_UP_POLL_SECONDS)
        elif not self.is_stopping:
            message = self.results.receive()
            if message is None:
                keep_connections()
                return
            with self.lock:
                self._accept(message)
            if self.state.busy and self.state.unsaved < MAX_GATHER_OUTCOMES:
                time.sleep(HIGH_LOAD_GATHER_SECONDS if self.last_batch >= HIGH_LOAD_OUTCOMES else GATHER_SECONDS)
        with self.lock:
            while self._has_room() and (message := self.results.receive(block=False)) is not None:
                self._accept(message)

    def _next_attempt_at(self) -> float:
        """Return the time of the next attempt to finish outcomes (`time.monotonic`, seconds); 0.0 for now."""
        times = [lane.retry_at for lane in (self.database, self.cache) if lane.outcomes]
        if self.starts:
            times.append(self.database.retry_at)
        if self.queue.outcomes or self.done or self.returned or self.unreadable:
            times.append(self.queue.retry_at)
        return 0.0 if self.deaths else min(times)

    def _has_room(self) -> bool:
        if len(self.database.outcomes) < MAX_BATCH_OUTCOMES and self.size < MAX_BATCH_BYTES:
            return True
        return any(lane.backoff.failures for lane in self.lanes)  # leases of received outcomes are renewed

    def _collect_while_blocked(self) -> None:
        """Receive outcomes in the thread of the keeper if a server blocks the main thread."""
        if self.saving.seconds <= self.settings.retry / 6:
            return
        with self.lock:
            while (message := self.results.receive(block=False)) is not None:
                self._accept(message)
        self._publish_state(blocked=True)

    def _accept(self, message: bytes) -> None:
        kind = kind_of(message)
        if kind == Kind.STOP:
            self.is_stopping = True
            return
        match unpack(message):
            case Outcome() as outcome:
                self.state.backlog += 1
                self.state.received += 1
                self._hold(outcome.ack_id)
                self._add(outcome)
                self.size += len(message)
            case Started() as start:
                self.starts[start.id] = start
                self.running.add(start.id)
            case Unreadable() as unreadable:
                self.state.backlog += 1
                self.state.received += 1
                self._hold(unreadable.ack_id)
                self.unreadable.append(unreadable)
            case Death() as death:
                self._hold_death(death)
                self.deaths.append(death)
            case Returned(ack_id=ack_id, pause=pause):
                self._hold(ack_id)
                self.kept.append((time.monotonic() + pause, ack_id))
            case FollowedUp(key=key):
                if (followed := self.following.pop(key, None)) is not None:
                    self.done.append(followed)

    def _add(self, outcome: Outcome) -> None:
        """Add an outcome to those that wait for its server."""
        if outcome.attempted is not None:
            self.starts.pop(outcome.id, None)
            self.running.discard(outcome.id)
        (self.cache if place_of(outcome) is Place.CACHE else self.database).outcomes.append(outcome)

    def _hold(self, ack_id: Any) -> None:
        if self.keeper is not None:
            self.keeper.hold(ack_id)

    def _hold_death(self, death: Death) -> None:
        if kind_of(death.message) == Kind.TASK:
            self._hold(TaskMessage.unpack(death.message).ack_id)

    def _unfinished(self) -> bool:
        waiting = self.deaths or self.unreadable or self.returned or self.done or self.starts
        return bool(waiting) or any(lane.outcomes for lane in self.lanes)

    # finishing

    def _settle(self) -> None:
        if not self._unfinished():
            return
        try:
            with self.saving.limited():
                self._settle_lanes()
        finally:
            self.size = 0

    def _settle_lanes(self) -> None:
        began = time.monotonic()
        self._settle_deaths()
        for lane in (self.database, self.cache):
            if lane.is_due:
                self._attempt(lane, partial(self._save, lane))
                self.heartbeat.beat()  # each server may be slow
        if self.starts and began >= self.database.retry_at:
            self._attempt(self.database, self._write_starts)
        if began >= self.queue.retry_at:
            self._attempt(self.queue, self._settle_queue)

    def _attempt(self, lane: Lane, work: Callable[[], None]) -> None:
        """Do the work of a lane. If its server is unavailable, schedule the next attempt."""
        try:
            work()
        except Exception as error:  # edge of a process: any other error ends it
            if not is_unavailable(error):
                raise
            if lane.backoff.failed():
                log.monitor.saving_failed(self.name, error)
            close_connections()
            lane.retry_at = time.monotonic() + lane.backoff.seconds
        else:
            lane.retry_at = 0.0
            if lane.backoff.succeeded():
                log.monitor.saving_resumed(self.name)

    def _save(self, lane: Lane) -> None:
        with self.lock:
            size = self._size_of_batch(lane)
            outcomes, lane.outcomes = lane.outcomes[:size], lane.outcomes[size:]
        self.last_batch = len(outcomes)
        try:
            if lane is self.database:
                release_pages(connections[router.db_for_write(Task)])
            saved = self.finisher.save(outcomes)
        except BaseException:
            with self.lock:
                lane.outcomes[:0] = outcomes
            raise
        self.state.saved += sum(outcome.success for outcome in saved)
        self.queue.outcomes += saved

    def _write_starts(self) -> None:
        """Write the starts of tracked tasks whose outcome has not arrived."""
        with self.lock:
            starts = dict(self.starts)
        self.finisher.track([], list(starts.values()))
        with self.lock:
            self.starts = {key: start for key, start in self.starts.items() if starts.get(key) != start}

    def _keep_records(self) -> None:
        """Extend the leases of running tracked tasks, and write the updates whose records were missing."""
        if time.monotonic() >= max(self.extend_at, self.database.retry_at):
            self.extend_at = time.monotonic() + min(self.settings.retry / RECORD_LEASE_SHARES, MAX_EXTEND_SECONDS)
            if self.running or self.finisher.records.missing:
                self._attempt(self.database, self._extend_records)

    def _extend_records(self) -> None:
        with self.saving.limited():
            self.finisher.records.extend(sorted(self.running))
            self.finisher.records.write_missing()

    def _size_of_batch(self, lane: Lane) -> int:
        """Return the size of the next batch. After an outage, more outcomes may wait than one call can save in time."""
        if lane is self.cache:
            size = 0
            for number, outcome in enumerate(lane.outcomes[:MAX_BATCH_OUTCOMES], 1):
                size += len(outcome.finished or "")
                if size >= MAX_BATCH_BYTES:
                    return number
        return MAX_BATCH_OUTCOMES

    def _settle_queue(self) -> None:
        """Send next links, acknowledge and release packages, and move unreadable ones to the dead letters."""
        if self.queue.outcomes:
            self.finisher.follow(self.queue.outcomes)
            outcomes, self.queue.outcomes = self.queue.outcomes, []
            for outcome in outcomes:
                self._announce(outcome)
        if self.done:
            self.finisher.acknowledge(self.done)
            self._drop([outcome.ack_id for outcome in self.done])
            self.done = []
        if self.returned:
            self.broker.release_many(self.returned)
            self._drop(self.returned)
            self.returned = []
        while self.unreadable:
            self._move_to_dead_letters(self.unreadable[0])
            del self.unreadable[0]

    def _return_kept(self) -> None:
        """Select packages for release whose pause is over."""
        now = time.monotonic()
        with self.lock:
            self.returned += [ack_id for release_at, ack_id in self.kept if release_at <= now]
            self.kept = [(release_at, ack_id) for release_at, ack_id in self.kept if release_at > now]

    def _announce(self, outcome: Outcome) -> None:
        """Log an outcome. If it has a hook or receivers, create a follow-up that runs before the acknowledgement."""
        self.finisher.announce(outcome)
        self.state.activity.add(numbers_of(outcome))
        if outcome.follow_up and outcome.finished is not None:
            key = f"{os.getpid()}-{next(self.numbers)}"
            self.following[key] = outcome._replace(finished=None)
            self.follow_ups.append(FollowUp(key, outcome.finished))
        else:
            self.done.append(outcome)

    def _drop(self, ack_ids: Sequence[Any]) -> None:
        if self.keeper is not None:
            self.keeper.drop([ack_id for ack_id in ack_ids if ack_id is not None])

    def _move_to_dead_letters(self, unreadable: Unreadable) -> None:
        log.task.dead_lettered(self.name, unreadable.reason)
        self.finisher.move_to_dead_letters(Delivery(unreadable.ack_id, unreadable.package), unreadable.reason)
        self._drop([unreadable.ack_id])

    def _given_up(self) -> bool:
        """Return True if a server has been unavailable for too long to continue the stop. The leases will expire."""
        given_up = any(lane.backoff.failures > MAX_STOP_FAILURES for lane in self.lanes)
        if given_up:
            log.monitor.results_not_saved(self.name, sum(len(lane.outcomes) for lane in self.lanes) + len(self.done))
        return given_up

    # dead workers

    def _settle_deaths(self) -> None:
        with self.lock:
            deaths, self.deaths = self.deaths, []
        for death in deaths:
            if kind_of(death.message) == Kind.FOLLOW_UP:
                self._follow_up_died(death)
            else:
                self._task_died(death, TaskMessage.unpack(death.message))

    def _task_died(self, death: Death, task: TaskMessage) -> None:
        """Create the outcome of a task whose worker died."""
        try:
            package = peek(self.finisher.codec, task.package)
        except UnreadablePackage as error:
            self.unreadable.append(Unreadable(task.ack_id, task.package, one_line(error)))
            return
        if death.looking_up and task.ack_id is not None:
            log.task.look_up_hung(self.name, package, task.attempt, death.reason)
            self.returned.append(task.ack_id)
            return
        if death.unpickling:
            package = without_arguments(package)
        if death.interrupted and task.ack_id is not None:
            self._expire(task.ack_id, package, task.attempt)
            if package.get("track"):
                self.finisher.track([self._failure_of(package, death, task)])
            return
        outcome = self._failure_of(package, death, task)
        if death.cancelled:
            outcome = outcome._replace(cancelled=True, final=True)
        with self.lock:
            self._add(outcome)
        if death.cancelled:
            return
        self._report(WorkerDied(death.reason), package, task.attempt)

    def _failure_of(self, package: dict[str, Any], death: Death, task: TaskMessage) -> Outcome:
        """Create the failure of an attempt whose worker died, with the start that it has announced."""
        outcome = self.builder.failed(
            package,
            death.reason,
            ack_id=task.ack_id,
            attempt=task.attempt,
            worker=worker_name(self.wiring.cluster_id, death.worker),
            exception_class=LOST_CLASS,
        )
        start = self.starts.get(outcome.id)  # not written yet
        if outcome.attempted is None or start is None or start.attempt != task.attempt:
            return outcome
        return outcome._replace(attempted=outcome.attempted._replace(started=start.moment))

    def _follow_up_died(self, death: Death) -> None:
        work = unpack(death.message)
        assert isinstance(work, FollowUp)
        followed = self.following.pop(work.key, None)
        log.hook.died(self.name, followed, death.reason)
        if work.finished is not None:
            self._report(WorkerDied(f"A hook did not return: {death.reason}"), {}, 1)
        if followed is not None:
            self.done.append(followed)

    def _report(self, error: TaskError, package: Mapping[str, Any], attempt: int) -> None:
        """Create a follow-up that reports an error to the error reporters: their code runs in workers only."""
        if self.settings.error_reporter:
            keys = ("id", "name", "func", "group", "schedule")
            metadata = {key: package[key] for key in keys if package.get(key) is not None}
            self.follow_ups.append(FollowUp("", None, error, metadata, attempt))

    def _expire(self, ack_id: Any, package: dict[str, Any], attempt: int) -> None:
        log.task.interrupted(self.name, package, attempt)
        self._drop([ack_id])
        try:
            self.broker.expire(ack_id)
        except BrokerUnavailable as error:
            log.lease.not_released(self.name, 1, error)

    # follow-ups

    def _send_follow_ups(self) -> None:
        """Send follow-ups to the workers, as long as workers are guaranteed to run."""
        while self.follow_ups and self.state.phase <= Phase.STOPPING:
            if not self.tasks.send(pack(Kind.FOLLOW_UP, self.follow_ups[0])):
                break
            self.follow_ups.popleft()

    def _publish_state(self, *, blocked: bool = False) -> None:
        """Publish unfinished work in shared memory. Pause the pusher while a server is unavailable or blocked."""
        self.state.hooks = len(self.follow_ups) + len(self.following)
        self.state.backlog = sum(len(lane.outcomes) for lane in self.lanes) + len(self.done) + len(self.unreadable)
        self.state.postponed = self._postponed()
        self.state.paused = int(blocked or bool(self.database.backoff.failures or self.queue.backoff.failures))

    def _postponed(self) -> int:
        """Return the number of outcomes without back-pressure, because they wait for an unavailable cache only."""
        waiting = self.cache.outcomes if self.cache.backoff.failures else []
        size = sum(OUTCOME_BYTES + len(outcome.finished or "") for outcome in waiting)
        return len(waiting) if size <= MAX_POSTPONED_BYTES else 0
