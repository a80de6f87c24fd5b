"""Sends the tasks of due schedules: each slot once, with any number of schedulers."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import DatabaseError, Error, InterfaceError, InternalError, connections, router, transaction
from django.db.models import F, Q, QuerySet

from django_q import tracing
from django_q.brokers import Broker, broker_of
from django_q.clock import in_project_time
from django_q.clock import now as clock_now
from django_q.databases.errors import is_serialization_failure, is_session_failure, is_unsuitable
from django_q.databases.sqlite import MAX_WRITTEN_ROWS, exclusive, has_one_writer
from django_q.databases.statements import execute_many
from django_q.databases.writable import WriteProbe
from django_q.dispatch import announced, send_many
from django_q.exceptions import BrokerError, BrokerUnavailable, UnknownFunction
from django_q.functions import resolve
from django_q.models import Schedule
from django_q.schedules.overlap import Overlap
from django_q.schedules.ownership import of_cluster
from django_q.schedules.packing import ScheduledTask, pack
from django_q.schedules.polling import is_soon_due
from django_q.schedules.reasons import RollBack, reason_of
from django_q.schedules.scheduler_pass import (
    RETRY_DELAY,
    SLOT_COLUMNS,
    Pass,
    PendingTask,
    Signed,
    count_down,
    mark,
    move_on,
    record_sent,
    restore,
    state_of,
    was_sent_in,
)
from django_q.settings.rules import DEAD_LETTER_ENDS
from django_q.text import ascii_only, one_line
from django_q.wire.codec import PackageCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from django_q.recurrence import Slot
    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage

MAX_SCHEDULES: Final = 200
"""Maximum number of schedules per transaction."""

MAX_SLOTS: Final = 100
"""Maximum number of slots of one schedule per transaction, so that others are not delayed."""

MAX_SECONDS: Final = 0.5
"""Maximum duration of a transaction. It commits even if more is due, to release row locks, or the lock of SQLite."""

LOOK_AHEAD: Final = timedelta(seconds=1)
"""Period after a pass whose slots the pass sees. The next pass begins within it."""

MAX_SHORT_SCHEDULES: Final = 50
"""Maximum number of schedules per transaction on SQLite, where all other writers wait for its end."""

FATAL_RETRY_DELAY: Final = timedelta(hours=1)
"""Delay before the next try of a schedule whose function has ended the scheduler process twice."""

FATAL_REASON: Final = "The scheduler process ended or hung while the module of the function was imported: see its log."
"""The `last_error` of such a schedule."""

MAX_TRIES: Final = 5
"""Maximum number of tries of a transaction that conflicts with others."""

PART_TASKS: Final = 10
"""Number of tasks per request to a broker outside of the database. Each product takes so many in one atomic request."""


class SlotNotClaimed(Exception):
    """The previous task ended after the slots were claimed, so the next pass claims this slot."""


class OwnQueueUnavailable(Exception):
    """The cluster's own queue is unavailable. The schedule stays due and is not marked."""


class DueSchedules:
    """Sends the due schedules of one cluster.

    A transaction locks the row of a schedule, sends the task of its slot, and then advances the row. If the scheduler
    dies in between, the slot stays due, and its task is sent again with the same id. If the queue is in the same
    database, the transaction contains both or none.

    Args:
        settings: of the cluster.
        broker: of the cluster.
        importing: returns a context manager for the import of a function, given the id of its schedule; None means no
            context.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        broker: Broker,
        *,
        importing: Callable[[int], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.settings = settings
        self.broker = broker
        self.importing = importing or nullcontext
        self.db: str = router.db_for_write(Schedule)
        self.overlap = Overlap(settings, broker, self.db)
        self.probe = WriteProbe(Schedule, self.db)

    def run_pass(self, now: datetime | None = None) -> Pass:
        """Send the due tasks, or a part of them if there are many.

        Args:
            now: the present time; None means that of the clock.

        Returns:
            The events of this pass.

        Raises:
            django.db.DatabaseError: the database is unavailable; all slots stay due.
        """
        now = now or clock_now()
        this_pass = Pass()
        due: list[int] = []
        alone: list[int] = []
        unknown: dict[str, UnknownFunction] = {}
        for pk, next_run, func, cluster, kwargs, overlap in self._soon(now):
            if in_project_time(next_run) > now:
                this_pass.due_at(in_project_time(next_run))
                continue
            due.append(pk)
            if not overlap:
                alone.append(pk)
            # Imports may take long, so they precede the transaction.
            if func not in unknown and not names_a_queue(cluster, kwargs):
                with self.importing(pk):
                    error = unknown_function(func)
                if error is not None:
                    unknown[func] = error
        claims = self.overlap.claim(self.ours(now).filter(pk__in=alone, next_run__lte=now)) if alone else []
        if due:
            self._send(due, now, unknown, this_pass)
        self.overlap.release(claims, {package["id"] for _, package in this_pass.sent})
        this_pass.more |= len(due) == MAX_SCHEDULES
        return this_pass

    def run_now(self, schedule: Schedule) -> str:
        """Send the task of a schedule now. Its dates and repeats do not change.

        Returns:
            The id of the task.

        Raises:
            DjangoQError: the task was not sent.
        """
        scheduled = pack(schedule, None, self.settings)
        package = announced(scheduled.package)
        broker = self._broker_of(scheduled.queue)
        with tracing.sending([package], broker.list_key, self.settings):
            send_many([package], broker=broker, settings=self.settings)
        schedule.task = package["id"]
        schedule.save(update_fields={"task"})
        return package["id"]

    def mark_fatal(self, pk: int, now: datetime) -> None:
        """Mark a schedule whose function ended the scheduler process, or made it hang, during the import.

        The first time, the cause may be another, such as a kill. The second time, the delay is longer.

        Args:
            pk: primary key of the schedule.
            now: the present time.
        """
        row = Schedule.objects.using(self.db).filter(pk=pk)
        again = row.filter(last_error=FATAL_REASON).exists()
        row.update(last_error=FATAL_REASON, retry_at=now + (FATAL_RETRY_DELAY if again else RETRY_DELAY))

    def _soon(self, now: datetime) -> list[tuple[int, datetime, str, str | None, str | None, bool]]:
        if not is_soon_due(self.settings, self.db, now, now + LOOK_AHEAD):
            self.probe.step()  # due schedules may be missing on a server that became a replica
            return []
        soon = self.ours(now).filter(next_run__lte=now + LOOK_AHEAD).order_by("next_run")
        return list(soon.values_list("pk", "next_run", "func", "cluster", "kwargs", "overlap")[:MAX_SCHEDULES])

    def ours(self, now: datetime) -> QuerySet[Schedule]:
        """Return the schedules that this cluster may send.

        The default cluster also has those without a cluster, and those whose cluster cannot exist, to mark the latter.
        """
        cluster = of_cluster(self.settings)
        if self.settings.is_default_cluster:
            for end in DEAD_LETTER_ENDS:
                cluster |= Q(cluster__endswith=end)
        ready = Q(retry_at=None) | Q(retry_at__lte=now)
        return Schedule.objects.using(self.db).filter(cluster, ready).exclude(repeats=0)

    # one transaction

    def _send(self, ids: Sequence[int], now: datetime, unknown: dict[str, UnknownFunction], this_pass: Pass) -> None:
        try:
            this_pass.add(self._repeated_batch(ids, now, unknown))
        except Exception as error:
            if (down := database_error_in(error)) is not None:
                raise down from down.__cause__
            if not is_fault_of_a_value(error):
                raise
            if len(ids) == 1:
                self._mark(ids[0], now, error, this_pass)
                return
            for pk in ids:  # to find the schedule with the error
                self._send([pk], now, unknown, this_pass)

    def _repeated_batch(self, ids: Sequence[int], now: datetime, unknown: dict[str, UnknownFunction]) -> Pass:
        """Run the transaction, and repeat it while it conflicts with others."""
        for _ in range(MAX_TRIES - 1):
            try:
                return self._batch(ids, now, unknown)
            except (Error, RollBack) as error:
                if not is_serialization_failure(database_error_in(error) or error):
                    raise
        return self._batch(ids, now, unknown)

    def _batch(self, ids: Sequence[int], now: datetime, unknown: dict[str, UnknownFunction]) -> Pass:
        if has_one_writer(connections[self.db]):
            return self._short_batch(ids, now, unknown)
        this_pass = Pass()
        with transaction.atomic(using=self.db):
            processed = self._process_all(self._locked(ids, now), now, unknown, this_pass)
            self._send_in_transaction(this_pass, self._signed(this_pass))
            self._save(processed, now, this_pass)
        return this_pass

    def _short_batch(self, ids: Sequence[int], now: datetime, unknown: dict[str, UnknownFunction]) -> Pass:
        """Send a batch on SQLite, where all other writers wait for the end of a transaction.

        Everything is prepared before the transaction, and a lock outside of the database excludes other schedulers.
        """
        this_pass = Pass(more=len(ids) > MAX_SHORT_SCHEDULES)
        with exclusive(connections[self.db], "schedules") as is_ours:
            if not is_ours:
                this_pass.more = True
                return this_pass
            rows = self.ours(now).filter(pk__in=ids[:MAX_SHORT_SCHEDULES], next_run__lte=now)
            processed = self._process_all(in_order(rows), now, unknown, this_pass, MAX_WRITTEN_ROWS)
            signed = self._signed(this_pass)
            with transaction.atomic(using=self.db):
                if not self._are_unchanged(processed):
                    return Pass(more=True)
                self._send_in_transaction(this_pass, signed)
                self._save(processed, now, this_pass)
        return this_pass

    def _are_unchanged(self, processed: Sequence[tuple[Schedule, dict[str, Any]]]) -> bool:
        """Lock these schedules; return True if none was edited or deleted since it was read."""
        rows = Schedule.objects.using(self.db).filter(pk__in=[schedule.pk for schedule, _ in processed])
        rows.update(runs=F("runs"))
        found = {schedule.pk: state_of(schedule) for schedule in rows.only(*SLOT_COLUMNS)}
        return all(found.get(schedule.pk) == before for schedule, before in processed)

    def _process_all(
        self,
        schedules: Iterable[Schedule],
        now: datetime,
        unknown: dict[str, UnknownFunction],
        this_pass: Pass,
        max_tasks: float = math.inf,
    ) -> list[tuple[Schedule, dict[str, Any]]]:
        """Process schedules until the time is over; return each with its previous state."""
        until = time.monotonic() + MAX_SECONDS
        processed: list[tuple[Schedule, dict[str, Any]]] = []
        for schedule in schedules:
            if time.monotonic() > until or len(this_pass.pending) + len(this_pass.in_transaction) >= max_tasks:
                this_pass.more = True
                break
            processed.append((schedule, state_of(schedule)))
            self._process(schedule, now, unknown.get(schedule.func), this_pass, until)
            if not self._is_in_same_database(self.broker):
                self._send_parts(this_pass, now, at_least=PART_TASKS)
        if not self._is_in_same_database(self.broker):
            self._send_parts(this_pass, now)
        return processed

    def _save(self, processed: Sequence[tuple[Schedule, dict[str, Any]]], now: datetime, this_pass: Pass) -> None:
        """Save the new state of the schedules."""
        self._write([(schedule, before["runs"]) for schedule, before in processed if state_of(schedule) != before])
        done: list[int] = []
        for schedule, before in processed:
            if schedule.schedule_type == Schedule.ONCE and schedule.repeats < 0 and schedule.runs > before["runs"]:
                done.append(schedule.pk)
            elif schedule.repeats and schedule.next_run and schedule.next_run > now:
                this_pass.due_at(schedule.next_run)
        if done:
            Schedule.objects.using(self.db).filter(pk__in=done).delete()

    def _locked(self, ids: Sequence[int], now: datetime) -> list[Schedule]:
        """Lock the schedules that no other scheduler has locked, until the end of the transaction, and return them."""
        rows = self.ours(now).filter(pk__in=ids, next_run__lte=now)
        features = connections[self.db].features
        if features.has_select_for_update:
            rows = rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
        else:
            # On SQLite, a transaction waits for the write lock only if it begins with a write.
            Schedule.objects.using(self.db).filter(pk__in=ids).update(runs=F("runs"))
        return in_order(rows)

    def _signed(self, this_pass: Pass) -> list[Signed]:
        """Sign the packages for queues in the database of the schedules."""
        codec = PackageCodec.of(self.settings)
        queues = [(broker, [package]) for broker, package in this_pass.in_transaction]
        if own := [each.package for each in this_pass.pending]:
            queues.append((self.broker, own))
        return [Signed(broker, packages, [codec.dumps(each) for each in packages]) for broker, packages in queues]

    def _send_in_transaction(self, this_pass: Pass, signed: Sequence[Signed]) -> None:
        """Send packages to queues in the database of the schedules: the transaction contains all of them or none."""
        try:
            for broker, packages, texts in signed:
                send_many(packages, broker=broker, settings=self.settings, signed=texts)
        except BrokerError as error:
            raise RollBack from error
        this_pass.sent += [(each.schedule, each.package) for each in this_pass.pending]
        this_pass.pending.clear()

    def _send_parts(self, this_pass: Pass, now: datetime, *, at_least: int = 1) -> None:
        """Send pending tasks to a queue outside of the database, in parts, while there are *at_least* so many."""
        size = PART_TASKS
        while this_pass.pending and len(this_pass.pending) >= at_least:
            part = this_pass.pending[:size]
            try:
                send_many([each.package for each in part], broker=self.broker, settings=self.settings)
            except BrokerUnavailable as error:
                record_sent(this_pass, part, error)
                self._own_queue_failed(this_pass, error)
            except BrokerError as error:
                record_sent(this_pass, part, error)
                if len(part) > 1:  # to find the schedule with the error
                    size = 1
                    continue
                restore(this_pass, [each for each in this_pass.pending if each.schedule is part[0].schedule])
                mark(part[0].schedule, error, now, this_pass)
            else:
                this_pass.sent += [(each.schedule, each.package) for each in part]
                del this_pass.pending[: len(part)]

    def _own_queue_failed(self, this_pass: Pass, error: BrokerUnavailable) -> None:
        """Let all slots that were not sent stay due, and record the error at the first schedule."""
        this_pass.own_queue_error = error
        if not this_pass.pending:  # the broker failed after it had queued all tasks
            return
        first = this_pass.pending[0].schedule
        restore(this_pass, this_pass.pending)
        first.last_error = reason_of(error)

    def _write(self, written: Sequence[tuple[Schedule, int]]) -> None:
        if not any(schedule.last_error for schedule, _ in written):
            self._update(written)
            return
        try:
            with transaction.atomic(using=self.db):
                self._update(written)
        except Exception as error:
            if not is_unsuitable(error):
                raise
            for schedule, _ in written:  # the database has a smaller character set
                schedule.last_error = schedule.last_error and ascii_only(schedule.last_error)
            self._update(written)

    def _update(self, written: Sequence[tuple[Schedule, int]]) -> None:
        if not written:
            return
        connection = connections[self.db]
        columns = ", ".join(f"{{{name}}} = %s" for name in SLOT_COLUMNS)
        sql = f"UPDATE {{table}} SET {columns} WHERE {{id}} = %s AND {{runs}} = %s"
        adapt = connection.ops.adapt_datetimefield_value

        def prepared(value: Any) -> Any:
            return adapt(value) if isinstance(value, datetime) else value

        rows = [
            (*(prepared(getattr(schedule, name)) for name in SLOT_COLUMNS), schedule.pk, runs)
            for schedule, runs in written
        ]
        # SQL Server's driver does not return the number of rows after `executemany`.
        for some in [[row] for row in rows] if connection.vendor == "microsoft" else [rows]:
            if execute_many(Schedule, self.db, sql, some) != len(some):
                raise RollBack("A schedule was changed while it was sent.")

    def _mark(self, pk: int, now: datetime, error: Exception, this_pass: Pass) -> None:
        row, reason = Schedule.objects.using(self.db).filter(pk=pk), reason_of(error)
        try:
            with transaction.atomic(using=self.db):
                row.update(last_error=reason, retry_at=now + RETRY_DELAY)
        except Exception as refusal:
            if not is_unsuitable(refusal):
                raise
            row.update(last_error=ascii_only(reason), retry_at=now + RETRY_DELAY)
        for schedule in row:
            this_pass.broken.append((schedule, error))

    # one schedule

    def _process(
        self, schedule: Schedule, now: datetime, unknown: UnknownFunction | None, this_pass: Pass, until: float
    ) -> None:
        """Process the due slots of one schedule, in order."""
        for number in range(MAX_SLOTS):
            if time.monotonic() > until and number:
                break
            try:
                slot = schedule.slot()
                if slot is None or slot.moment > now or schedule.repeats == 0:
                    return
                if unknown is not None:
                    raise unknown
                self._process_slot(schedule, slot, now, this_pass)
            except OwnQueueUnavailable:
                return
            except SlotNotClaimed:
                break
            except (RollBack, DatabaseError, InterfaceError):
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001 - errors of one schedule must not affect others
                mark(schedule, error, now, this_pass)
                return
            if schedule.schedule_type == Schedule.ONCE:
                return
        this_pass.more = True

    def _process_slot(self, schedule: Schedule, slot: Slot, now: datetime, this_pass: Pass) -> None:
        """Send one slot, or skip it."""
        recurrence = schedule.recurrence(self.settings)
        claimed = self.overlap.is_claimed(schedule, slot)
        if not claimed and (was_sent_in(this_pass, schedule) or self.overlap.is_waiting(schedule)):
            move_on(schedule, recurrence.skip(slot, now))
            this_pass.skipped.append(schedule)
            return
        catches_up = self.settings.catch_up if schedule.catch_up is None else schedule.catch_up
        following = recurrence.next(slot) if catches_up else recurrence.skip(slot, now)
        scheduled = pack(schedule, slot.moment, self.settings)
        if not claimed:
            raise SlotNotClaimed
        scheduled = scheduled._replace(package=announced(scheduled.package))
        with tracing.sending([scheduled.package], scheduled.queue or self.settings.list_key, self.settings):
            pass  # the package is signed and sent with others
        self._hand_over(schedule, scheduled, this_pass)
        schedule.task = scheduled.package["id"]
        count_down(schedule)
        move_on(schedule, following)

    def _hand_over(self, schedule: Schedule, scheduled: ScheduledTask, this_pass: Pass) -> None:
        """Send a task to another queue, or add it to those for the own queue."""
        if scheduled.queue is not None:
            try:
                self._hand_to(scheduled.queue, scheduled.package, this_pass)
            except BrokerUnavailable:
                if not scheduled.may_use_own_queue:
                    raise
                scheduled.package.pop("cluster", None)
            else:
                this_pass.sent.append((schedule, scheduled.package))
                return
        if this_pass.own_queue_error is not None:
            raise OwnQueueUnavailable
        this_pass.pending.append(PendingTask(schedule, scheduled.package, state_of(schedule)))

    def _hand_to(self, queue: str, package: TaskPackage, this_pass: Pass) -> None:
        """Send a package to another queue, or add it to those that the transaction sends."""
        if queue in this_pass.unavailable:
            raise this_pass.unavailable[queue]
        broker = broker_of(queue)
        if self._is_in_same_database(broker) and has_one_writer(connections[self.db]):
            this_pass.in_transaction.append((broker, package))
            return
        try:
            send_many([package], broker=broker, settings=self.settings)
        except BrokerError as error:
            if self._is_in_same_database(broker):  # it is an error of this transaction
                raise RollBack from error
            if isinstance(error, BrokerUnavailable):
                this_pass.unavailable[queue] = error
            raise

    def _is_in_same_database(self, broker: Broker) -> bool:
        """Return True if the queue is in the database of the schedules."""
        return broker.alias == self.db

    def _broker_of(self, queue: str | None) -> Broker:
        return self.broker if queue is None else broker_of(queue)


def in_order(schedules: QuerySet[Schedule]) -> list[Schedule]:
    """Return schedules in the order in which they are due."""
    return sorted(schedules.order_by(), key=lambda schedule: (schedule.next_run, schedule.pk))


def unknown_function(path: str) -> UnknownFunction | None:
    """Return the error of a function that cannot be imported or called; None if it can."""
    try:
        resolve(path)
    except UnknownFunction as error:
        return error
    except BaseException as error:  # noqa: BLE001 - an import runs code of the project
        unknown = UnknownFunction(f"Function {one_line(path)} cannot be imported.")
        unknown.__cause__ = error
        return unknown
    return None


def is_fault_of_a_value(error: Exception) -> bool:
    """Return True if a transaction failed because of its values, False if the database is unavailable."""
    if isinstance(error, (DatabaseError, InterfaceError)):
        return is_unsuitable(error) or (isinstance(error, InternalError) and not is_session_failure(error))
    return True


def database_error_in(error: BaseException) -> Error | None:
    """Return the error of the schedules' database, if it made the queue unavailable; None for other errors."""
    if isinstance(error, RollBack) and isinstance(error.__cause__, BrokerUnavailable):
        cause = error.__cause__.__cause__
        return cause if isinstance(cause, Error) else None
    return None


def names_a_queue(cluster: str | None, kwargs: str | None) -> bool:
    """Return True if the task may go to another cluster, whose code may be missing here."""
    return not cluster and kwargs is not None and ("cluster" in kwargs or "broker_name" in kwargs)
