"""Maintains the records of tracked tasks: ends those of lost attempts, and deletes old ones."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import connections, router, transaction

from django_q.clock import now
from django_q.databases.statements import is_any, one_of
from django_q.models import FINAL, Record, Status
from django_q.records.attempts import lost
from django_q.records.writing import begin_with_write, conclude

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.db.models import QuerySet

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings

BUSY_INTERVAL_SECONDS: Final = 1.0
"""Interval of the check for lost attempts while tracked tasks run."""

IDLE_INTERVAL_SECONDS: Final = 10.0
"""Interval of this check while no tracked task runs."""

PRUNING_INTERVAL_SECONDS: Final = 60.0
"""Interval of the check for old records."""

MAX_LOST_ROWS: Final = 100
"""Maximum number of records with a lost attempt per step. If there are more, the next step follows."""

MAX_DELETED_ROWS: Final = 500
"""Maximum number of records that one statement deletes, because others wait for its end."""

MAX_STATEMENTS: Final = 20
"""Maximum number of these statements per step. If there are more records, the next step follows without a pause."""


class RecordMaintenance:
    """Maintains the records in the scheduler process. An idle step needs one indexed query.

    Args:
        settings: of the cluster.
        broker: of its queue.
    """

    def __init__(self, settings: ClusterSettings, broker: Broker) -> None:
        self.settings, self.broker = settings, broker
        self.expire_at = self.prune_at = 0.0

    def step(self) -> None:
        """Do what is due.

        Raises:
            django.db.DatabaseError: try again later.
        """
        present = time.monotonic()
        if present >= self.expire_at:
            is_running = self._is_any(Status.RUNNING)
            self.expire_at = present + (BUSY_INTERVAL_SECONDS if is_running else IDLE_INTERVAL_SECONDS)
            if is_running:
                self.end_lost(now())
        if present >= self.prune_at:
            self.prune_at = present + PRUNING_INTERVAL_SECONDS
            if self._is_any(*FINAL) and self.prune(now()):
                self.prune_at = 0.0

    def _is_any(self, *statuses: Status) -> bool:
        return is_any(Record, self.rows.db, one_of("status", statuses))

    @property
    def rows(self) -> QuerySet[Record]:
        """All records, unordered, in the database that is written."""
        return Record._base_manager.using(router.db_for_write(Record)).order_by()

    def end_lost(self, present: datetime) -> int:
        """End the attempts of running tasks whose cluster does not extend their lease any more.

        They are retrying then, because their broker redelivers them. A broker without receipts has lost them.

        Args:
            present: the time now.

        Returns:
            The number of records that were changed.
        """
        using = self.rows.db
        expired = self.rows.filter(status=Status.RUNNING, lease_ends_at__lte=present).defer("arguments", "result")
        if not expired.exists():
            return 0
        with transaction.atomic(using=using):
            begin_with_write(using)
            if connections[using].features.has_select_for_update:
                expired = expired.select_for_update()
            records = list(expired[:MAX_LOST_ROWS])
            for record in records:
                record.attempts = [lost(attempt, present) for attempt in record.attempts]
                is_gone = record.queue == self.settings.list_key and not self.broker.supports_receipts
                conclude(record, Status.FAILED if is_gone else Status.RETRYING, present)
            if records:
                fields = ("status", "attempts", "finished_at", "lease_ends_at")
                Record._base_manager.using(using).bulk_update(records, fields)
        return len(records)

    def prune(self, present: datetime) -> bool:
        """Delete records of finished tasks that are too old or too many. Return True if there may be more.

        Args:
            present: the time now.
        """
        statements = MAX_STATEMENTS
        for status in FINAL:
            while (ids := self.surplus(status, present)) and statements:
                self.rows.filter(pk__in=ids, status=status).delete()
                statements -= 1
        return not statements

    def surplus(self, status: Status, present: datetime) -> Sequence[str]:
        """Return ids of records with a final status that are too old or too many, the oldest first."""
        finished = self.rows.filter(status=status)
        ids: Sequence[str] = ()
        if keep := self.settings.keep_records:
            old = finished.filter(finished_at__lt=present - timedelta(seconds=keep)).order_by("finished_at")
            ids = list(old.values_list("pk", flat=True)[:MAX_DELETED_ROWS])
        if not ids and (limit := self.settings.max_records):
            beyond = finished.order_by("-finished_at", "-pk").values_list("pk", flat=True)
            ids = list(beyond[limit : limit + MAX_DELETED_ROWS])
        return ids
