"""Counts the members of iters in the database, and completes a batch when its last member is final."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import DatabaseError, connections, router, transaction
from django.db.models import F
from django.utils import timezone

from django_q.databases.errors import is_conflict, is_unsuitable
from django_q.databases.sqlite import has_one_writer, short
from django_q.log import messages as log
from django_q.models import Batch, Task
from django_q.results.database import DatabaseResults, existing
from django_q.results.limits import fit, fit_statement, refused
from django_q.text import ascii_only, error_line
from django_q.wire.codec import ResultCodec
from django_q.workflows.batch_rows import (
    Change,
    count_members,
    forget_members,
    insert_batches,
    load_arguments,
    lock,
    members_of,
    new_batch,
    rows,
)
from django_q.workflows.collation import collate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from django.db.models import QuerySet

    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome

T = TypeVar("T")

MAX_MEMBERS: Final = 30
"""Maximum number of members that one transaction saves on SQLite, where all other writers wait for its end."""

MAX_TRIES: Final = 10
"""Maximum number of tries of a transaction that conflicts with one of another cluster."""

MAX_PAUSE_SECONDS: Final = 0.05
"""Maximum of the random pause between these tries: transactions that are repeated at once conflict again."""

KEPT_SECONDS: Final = 7 * 86_400
"""Time to live of a completed batch. A member that is redelivered within it does not create the batch again."""

DELIVERY_SECONDS: Final = 30
"""Time after which the maintenance step delivers a completed batch."""


class BatchResults:
    """Saves outcomes of members. Each member is counted once, and a success replaces a failure.

    Args:
        settings: of the cluster.
        list_key: key of the queue, the prefix of keys in the cache.
    """

    def __init__(self, settings: ClusterSettings, list_key: str) -> None:
        self.settings = settings
        self.list_key = list_key
        self.codec = ResultCodec.of(settings)
        self.tasks = DatabaseResults(settings)
        self.completed: list[Outcome] = []

    def take_completed(self) -> list[Outcome]:
        """Return the collated outcomes of the batches completed since the last call."""
        completed, self.completed = self.completed, []
        return completed

    def save_many(self, members: Sequence[Outcome], is_final: Callable[[Outcome], bool]) -> list[Outcome]:
        """Save members, and complete the batches whose last members they are. Saving is idempotent.

        A member that the database rejects is replaced by a failure, and the others are saved.

        Args:
            members: outcomes for which `is_member` is true.
            is_final: returns False for a failure with another attempt; it counts as progress only.

        Returns:
            The outcomes as they were saved.

        Raises:
            django.db.DatabaseError: `is_unavailable`: try again later. Some members may be saved.
        """
        using = router.db_for_write(Batch)
        fitting = [fit_statement(fit(member), connections[using]) for member in members]
        saved: list[Outcome] = []
        for part in short(fitting, connections[using], MAX_MEMBERS):
            saved += self._save_part(part, is_final, using)
        return saved

    def close(self, ids: Sequence[str], now: datetime) -> None:
        """Complete the due batches among these. Their missing members are lost.

        Raises:
            django.db.DatabaseError: `is_unavailable`: try again later. Some batches may be completed.
        """
        using = router.db_for_write(Batch)
        overdue = rows(Batch, using).filter(pk__in=ids, completed=None, due__lte=now).defer("kwargs").order_by("pk")
        for batch in overdue:
            self.completed += self._complete(batch, batch.total - batch.done, {"due": batch.due}, now, using)

    def _save_part(
        self, members: Sequence[Outcome], is_final: Callable[[Outcome], bool], using: str
    ) -> Sequence[Outcome]:
        try:
            self._save(members, is_final, using)
        except Exception as error:
            if not is_unsuitable(error):
                raise
            return [self._save_alone(member, is_final, using) for member in members]
        return members

    def _save_alone(self, member: Outcome, is_final: Callable[[Outcome], bool], using: str) -> Outcome:
        try:
            self._save([member], is_final, using)
        except Exception as error:
            if not is_unsuitable(error):
                raise
            member = as_failure(member, error)
            self._save([member], lambda _: True, using)
        return member

    def _save(self, members: Sequence[Outcome], is_final: Callable[[Outcome], bool], using: str) -> None:
        """Save members and complete their batches, in one transaction.

        Where others wait for its end, each batch is completed in a transaction of its own. A process that dies in
        between leaves a batch that is full and due: its last members are redelivered and complete it, or the
        maintenance step does.
        """
        now = timezone.now()
        if has_one_writer(connections[using]):
            for batch in in_transaction(lambda: self._add(members, is_final, now, using), using):
                self.completed += self._complete(batch, batch.failed, {}, now, using)
            return

        def save() -> list[Outcome]:
            full = self._add(members, is_final, now, using)
            return [outcome for batch in full for outcome in self._complete(batch, batch.failed, {}, now, using)]

        self.completed += in_transaction(save, using)

    def _complete(
        self, batch: Batch, failed: int, unchanged: Mapping[str, Any], now: datetime, using: str
    ) -> list[Outcome]:
        """Complete a batch, unless another process changes its counters meanwhile: that process completes it.

        Members are read and collated before the transaction begins, because this may take long.

        Args:
            batch: the row as it was read.
            failed: number of members that failed or are lost.
            unchanged: other columns that must not have changed.
            now: the present time.
            using: alias of the database.

        Returns:
            A list of the collated outcome; empty if the batch was not completed.
        """
        row = rows(Batch, using).filter(pk=batch.pk, completed=None, done=batch.done, failed=batch.failed, **unchanged)
        batch.failed = failed
        load_arguments(batch, using)
        outcome = fit(collate(batch, members_of(batch, using), self.codec, now))
        is_delivered = batch.cached is None and batch.callback is None
        saved = in_transaction(lambda: self._write(row, outcome, failed, is_delivered, now), using)
        if saved is None:
            return []
        if is_delivered:
            forget_members(batch, using)
        return [saved]

    # within a transaction

    def _add(
        self, members: Sequence[Outcome], is_final: Callable[[Outcome], bool], now: datetime, using: str
    ) -> list[Batch]:
        """Add members to their batches, and return the batches that are full."""
        groups: defaultdict[str, list[Outcome]] = defaultdict(list)
        for member in members:
            groups[member.group or ""].append(member)
        batches = lock(groups, using)
        if missing := [some[0] for batch_id, some in groups.items() if batch_id not in batches]:
            self._create(missing, now, using)
            batches = lock(groups, using)
        batches = {batch_id: batch for batch_id, batch in batches.items() if not batch.completed}
        final = {batch_id: last_outcomes(filter(is_final, groups[batch_id])) for batch_id in batches}
        for batch_id, outcomes in final.items():
            executed = next((outcome for outcome in outcomes.values() if outcome.kwargs is not None), None)
            if executed is not None and not batches[batch_id].done:
                self._describe(batches[batch_id], executed, using)
        self._add_up(count_members(final, using), batches, now, using)
        return [batch for batch in batches.values() if is_full(batch)]

    def _create(self, members: Sequence[Outcome], now: datetime, using: str) -> None:
        """Create batches that the sender did not insert: it is a public edition, or had no database.

        A batch whose result exists is not created: it was completed and deleted long ago.
        """
        finished = existing([member.group or "" for member in members], router.db_for_write(Task))
        batches = [self._batch_of(member, now) for member in members if member.group not in finished]
        insert_batches(sorted(batches, key=lambda batch: batch.pk), using)

    def _batch_of(self, member: Outcome, now: datetime) -> Batch:
        return new_batch(
            member.group or "",
            member.iter_count,
            func=member.func,
            cached=member.iter_cached,
            options=member.iter_options or {},
            started=member.started,
            cluster=member.cluster,
            queue=self.list_key,
            due=self._overdue(now),
        )

    def _overdue(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.settings.batch_timeout)

    def _describe(self, batch: Batch, member: Outcome, using: str) -> None:
        """Write the columns that are known only after the execution of a member."""
        batch.kwargs, batch.cluster, batch.queue = member.kwargs, member.cluster, self.list_key
        rows(Batch, using).filter(pk=batch.pk).update(kwargs=batch.kwargs, cluster=batch.cluster, queue=batch.queue)

    def _add_up(self, changes: Mapping[str, Change], batches: Mapping[str, Batch], now: datetime, using: str) -> None:
        """Update the counters, with one statement for all batches that have the same changes."""
        alike: defaultdict[tuple[Change, bool], list[str]] = defaultdict(list)
        for batch_id, change in changes.items():
            batch = batches[batch_id]
            batch.done += change.done
            batch.failed += change.failed
            alike[change, is_full(batch)].append(batch_id)
        for (change, full), ids in alike.items():
            counters = {"done": F("done") + change.done, "failed": F("failed") + change.failed}
            due = now + timedelta(seconds=DELIVERY_SECONDS) if full else self._overdue(now)
            rows(Batch, using).filter(pk__in=ids).update(**counters, updated=now, due=due)

    def _write(
        self, row: QuerySet[Batch], outcome: Outcome, failed: int, is_delivered: bool, now: datetime
    ) -> Outcome | None:
        """Complete a batch, and save its collated task unless that is cached.

        The update is conditional, so that each batch is completed once. If the database rejects the task, a failure is
        saved in its place.
        """
        due = now + timedelta(seconds=KEPT_SECONDS if is_delivered else DELIVERY_SECONDS)
        if not row.update(completed=now, failed=failed, delivered=now if is_delivered else None, due=due):
            return None
        if outcome.cached:
            return outcome
        (saved,) = self.tasks.save_many([outcome])
        return saved


def in_transaction(work: Callable[[], T], using: str) -> T:
    """Run a function in a transaction. After a conflict with another one, retry it after a short random pause."""
    for tries in range(1, MAX_TRIES + 1):
        try:
            with transaction.atomic(using=using):
                return work()
        except DatabaseError as error:
            if tries == MAX_TRIES or not is_conflict(error):
                raise
        time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))
    raise AssertionError("unreachable")


def is_full(batch: Batch) -> bool:
    """Return True if all members of a batch are final."""
    return bool(batch.done + batch.failed >= batch.total)


def last_outcomes(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    """Return one outcome per task: the first success, or else the last failure."""
    last: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.id not in last or not last[outcome.id].success:
            last[outcome.id] = outcome
    return last


def as_failure(outcome: Outcome, error: Exception) -> Outcome:
    """Return the failure that replaces an outcome which the database rejects."""
    reason = ascii_only(error_line(error))
    log.result.member_not_saved(outcome, reason)
    return refused(outcome, reason)
