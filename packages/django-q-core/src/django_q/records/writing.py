"""Updates the records of tracked tasks with the starts and outcomes of attempts, in batches."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import connections, router, transaction

from django_q.clock import in_project_time, now
from django_q.databases.errors import is_unavailable
from django_q.databases.limits import SHORT_STATEMENT, exceeded_limit
from django_q.databases.sqlite import short
from django_q.databases.statements import chunks, execute
from django_q.log import messages as log
from django_q.models import FINAL, Record, Status
from django_q.records import attempts as attempt_values
from django_q.records.rows import end_unread, locked, update_rows
from django_q.wire.tracking import Attempted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome
    from django_q.wire.tracking import Started

FAILURE_CLASS: Final = "django_q.exceptions.DjangoQError"
"""Exception class of a failure without an exception, such as a result that the database rejects."""

MISSING_SECONDS: Final = 60.0
"""Time for which an update waits for its record: a sender may have inserted it in a transaction that is still open."""

MAX_MISSING: Final = 10_000
"""Maximum number of updates that wait for their records."""


class Update(NamedTuple):
    """Change of a record: the start or the outcome of an attempt."""

    id: str
    apply: Callable[[Record], None]
    """Changes the record, which is locked."""
    is_first_success: bool = False
    """True if it ends the first attempt with a success: then the record may need no read."""


class RecordWriter:
    """Writes the starts and outcomes of attempts to the records of their tasks.

    Args:
        settings: of the cluster.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.missing: list[tuple[float, Update]] = []
        """Updates without a record, with the time at which they are dropped (`time.monotonic`, seconds)."""
        self.retry_at = 0.0
        """Time of the next attempt to write them (`time.monotonic`, seconds)."""

    @property
    def lease_end(self) -> datetime:
        """The time until which a task that is running now counts as running."""
        return now() + timedelta(seconds=self.settings.retry)

    def write(
        self, starts: Sequence[Started], outcomes: Sequence[Outcome], is_final: Callable[[Outcome], bool]
    ) -> None:
        """Update the records of tasks. An update that is repeated changes nothing. One that fails is logged.

        Args:
            starts: starts of attempts without an outcome.
            outcomes: outcomes of attempts, those of tasks that are not tracked included.
            is_final: returns True if no attempt follows an outcome.

        Raises:
            django.db.DatabaseError: `is_unavailable`: try again later.
        """
        updates = [Update(each.id, start_of(each, self.lease_end)) for each in starts]
        updates += [
            Update(each.id, end_of(each, final=is_final(each)), is_first_success(each))
            for each in outcomes
            if each.attempted
        ]
        if updates:
            self._write(updates)

    def write_missing(self) -> None:
        """Write the updates whose records were missing, once a second.

        Raises:
            django.db.DatabaseError: `is_unavailable`: try again later.
        """
        present = time.monotonic()
        if self.missing and present >= self.retry_at:
            self.retry_at = present + 1.0
            waiting, self.missing = self.missing, []
            deadlines = {update.id: deadline for deadline, update in waiting}
            self._write([update for deadline, update in waiting if deadline > present], deadlines)

    def extend(self, ids: Sequence[str]) -> None:
        """Extend the time for which running tasks count as running.

        Raises:
            django.db.DatabaseError: `is_unavailable`: try again later.
        """
        rows = Record._base_manager.using(router.db_for_write(Record)).order_by()
        for part in chunks(ids):
            rows.filter(pk__in=part, status=Status.RUNNING).update(lease_ends_at=self.lease_end)

    def _write(self, updates: Sequence[Update], deadlines: dict[str, float] | None = None) -> None:
        using = router.db_for_write(Record)
        by_id: dict[str, list[Update]] = {}
        for update in updates:
            by_id.setdefault(update.id, []).append(update)
        for part in chunks(sorted(by_id)):
            for few in short(part, connections[using]):
                self._write_each({task_id: by_id[task_id] for task_id in few}, using, deadlines or {})

    def _write_each(self, by_id: dict[str, list[Update]], using: str, deadlines: dict[str, float]) -> None:
        """Write a part. If that fails, write each record alone, so that one does not affect the others."""
        try:
            self._write_part(by_id, using, deadlines)
        except Exception as error:
            if is_unavailable(error):
                raise
            for task_id, updates in by_id.items():
                if len(by_id) > 1:
                    self._write_each({task_id: updates}, using, deadlines)
                else:
                    log.result.record_not_written(task_id, error)

    def _write_part(self, by_id: dict[str, list[Update]], using: str, deadlines: dict[str, float]) -> None:
        with transaction.atomic(using=using):
            by_id = without_first_successes(by_id, using)
            if not by_id:
                return
            begin_with_write(using)
            records = locked([*by_id], using)
            for record in records:
                for update in by_id[record.pk]:
                    update.apply(record)
            for chunk in of_statement_size(records, using):
                update_rows(chunk, using)
        known = {record.pk for record in records}
        deadline = time.monotonic() + MISSING_SECONDS
        absent = [update for task_id in by_id if task_id not in known for update in by_id[task_id]]
        self.missing += [(deadlines.get(update.id, deadline), update) for update in absent]
        del self.missing[:-MAX_MISSING]


def is_first_success(outcome: Outcome) -> bool:
    """Return True if an outcome is the success of a first attempt, and short enough for any database."""
    attempted = outcome.attempted
    return (
        attempted is not None
        and attempted.started is not None
        and outcome.success
        and outcome.attempt == 1
        and len(attempted.json or outcome.result or "") <= SHORT_STATEMENT
    )


def without_first_successes(by_id: dict[str, list[Update]], using: str) -> dict[str, list[Update]]:
    """Write first successes, and return the other updates; all of them if one of these records has to be read.

    Args:
        by_id: updates by the ids of their tasks, in order.
        using: alias of the database, in which a transaction is open.
    """
    records = []
    for task_id, (update, *others) in by_id.items():
        if update.is_first_success and not others:
            update.apply(record := Record(id=task_id))
            records.append(record)
    if not records or not end_unread(records, using):
        return by_id
    written = {record.pk for record in records}
    return {task_id: updates for task_id, updates in by_id.items() if task_id not in written}


def begin_with_write(using: str) -> None:
    """Wait for the write lock of SQLite: a transaction that begins with a read fails instead if others write."""
    if connections[using].vendor == "sqlite":
        execute(Record, using, "UPDATE {table} SET {status} = {status} WHERE {id} = %s", [""])


def start_of(start: Started, lease_end: datetime) -> Callable[[Record], None]:
    """Return the change of a record whose task has started.

    Args:
        start: of the attempt.
        lease_end: time until which it counts as running.
    """
    began = in_project_time(start.moment)

    def apply(record: Record) -> None:
        known = attempt_values.found(record.attempts, start.attempt)
        if known is not None and known["finished_at"] is not None:
            return  # its outcome is known
        attempt = attempt_values.entry(start.attempt, start.worker, began)
        record.attempts = attempt_values.merged(record.attempts, attempt, began)
        record.started_at = record.started_at or began
        record.last_attempted_at = began
        if record.status not in FINAL:
            record.status, record.lease_ends_at = Status.RUNNING, lease_end

    return apply


def end_of(outcome: Outcome, *, final: bool) -> Callable[[Record], None]:
    """Return the change of a record whose attempt has ended.

    Args:
        outcome: of the attempt.
        final: True if no attempt follows.
    """
    attempted = outcome.attempted or Attempted(None, None)
    began = attempted.started and in_project_time(attempted.started)
    stopped = in_project_time(outcome.stopped)

    def apply(record: Record) -> None:
        known = attempt_values.found(record.attempts, outcome.attempt) or {}
        if outcome.cancelled and not known and attempted.worker is None:  # no worker has started it
            conclude(record, Status.CANCELLED, stopped)
            return
        attempt = attempt_values.ended(
            attempt_values.entry(outcome.attempt, attempted.worker or known.get("worker"), began),
            stopped,
            duration=outcome.duration,
            exception_class=attempted.exception_class or (None if outcome.success else FAILURE_CLASS),
            traceback=attempted.traceback or (None if outcome.success else outcome.error),
        )
        if began is None:
            attempt["started_at"] = known.get("started_at")
        record.attempts = attempt_values.merged(record.attempts, attempt, stopped)
        if began is not None:
            record.started_at = record.started_at or began
            record.last_attempted_at = max(began, record.last_attempted_at or began)
        if record.status != Status.SUCCEEDED:
            conclude(record, status_after(outcome, final=final), stopped, attempted.json or outcome.result)

    return apply


def status_after(outcome: Outcome, *, final: bool) -> Status:
    """Return the status of a task after an attempt."""
    if outcome.success:
        return Status.SUCCEEDED
    if outcome.cancelled:
        return Status.CANCELLED
    return Status.FAILED if final else Status.RETRYING


def conclude(record: Record, status: Status, moment: datetime, result: str | None = None) -> None:
    """Set the status of a record whose attempt has ended, at a moment; a result is kept of a success only."""
    if record.status == Status.CANCELLED and status != Status.SUCCEEDED:
        return
    record.status, record.lease_ends_at = status, None
    record.finished_at = moment if status in FINAL else None
    record.result = result if status == Status.SUCCEEDED else None


def of_statement_size(records: Sequence[Record], using: str) -> Iterator[list[Record]]:
    """Return records in parts for one statement each.

    A result that is too large for a statement is removed, because its task must not be executed again.
    """
    chunk: list[Record] = []
    size = 0
    for record in records:
        result_size = len(record.result or "")
        if exceeded_limit(result_size, connections[using]) is not None:
            record.result, result_size = None, 0
        if chunk and size + result_size > SHORT_STATEMENT:
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += result_size + sum(len(each["traceback"] or "") for each in record.attempts)
    if chunk:
        yield chunk
