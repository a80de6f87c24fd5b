"""Completes, delivers and deletes batches when they are due."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import connections, router
from django.db.models import F, Q
from django.utils import timezone

from django_q.databases.statements import Condition, is_any, one_of
from django_q.exceptions import BrokerError
from django_q.log import messages as log
from django_q.models import Batch, BatchMember
from django_q.workflows.batch_delivery import BatchDelivery
from django_q.workflows.batch_rows import parts, rows
from django_q.workflows.batches import BatchResults

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings

INTERVAL_SECONDS: Final = 10.0
"""Interval of the check for due batches."""

MAX_BATCHES: Final = 100
"""Maximum number of batches per step. If there are more, the next step follows without a pause."""

GRACE_SECONDS: Final = 3600
"""Uptime of a cluster before it considers members lost; `batch_timeout` is used if it is shorter.

While no cluster runs, no member can make progress."""

POSTPONED_SECONDS: Final = 600
"""Interval after which the queue is checked again for waiting members."""

MAX_WAIT: Final = timedelta(days=14)
"""Maximum time that members wait in a queue. After it, any cluster completes the batch."""


class BatchMaintenance:
    """Maintains the batches of a queue in the scheduler process. An idle step needs one indexed query.

    Args:
        settings: of the cluster.
        broker: of its queue.
        list_keys: keys of the queues that it consumes; none means that of the broker.
    """

    def __init__(self, settings: ClusterSettings, broker: Broker, list_keys: Sequence[str] = ()) -> None:
        self.settings = settings
        self.broker = broker
        self.list_keys = list_keys or [broker.list_key]
        self.results = BatchResults(settings, broker.list_key)
        self.delivery = BatchDelivery(settings, broker)
        self.next_at = 0.0
        self.grace_ends_at = timezone.now() + timedelta(seconds=min(settings.batch_timeout, GRACE_SECONDS))
        """Time from which this cluster considers members lost."""

    def step(self) -> None:
        """Process the due batches, at most once in `INTERVAL_SECONDS`.

        Raises:
            django.db.DatabaseError: try again later.
        """
        if time.monotonic() >= self.next_at:
            self.next_at = time.monotonic() + INTERVAL_SECONDS
            if self.maintain(timezone.now()) == MAX_BATCHES:
                self.next_at = 0.0

    def maintain(self, now: datetime) -> int:
        """Complete, deliver and delete the batches that are due.

        Args:
            now: the present time.

        Returns:
            The number of batches that were due.
        """
        due = self._due(now)
        if not due:
            return 0
        self._close([batch for batch in due if not batch.completed], now)
        self._deliver([batch.pk for batch in due if not batch.delivered], now)
        delete([batch.pk for batch in due if batch.delivered])
        return len(due)

    def _due(self, now: datetime) -> list[Batch]:
        using = router.db_for_write(Batch)
        if not self._is_any_due(now, using):
            return []
        ours = Q(queue__in=self.list_keys) | Q(due__lte=now - MAX_WAIT)
        due = rows(Batch, using).filter(ours, due__lte=now).defer("kwargs").order_by("due")
        if now < self.grace_ends_at:
            due = due.exclude(completed=None, total__gt=F("done") + F("failed"))
        return list(due[:MAX_BATCHES])

    def _is_any_due(self, now: datetime, using: str) -> bool:
        moment = connections[using].ops.adapt_datetimefield_value
        queues = one_of("queue", self.list_keys)
        ours = Condition(f"{queues.text} OR {{due}} <= %s", [*queues.values, moment(now - MAX_WAIT)])
        return is_any(Batch, using, Condition("{due} <= %s", [moment(now)]) & ours)

    def _close(self, overdue: Sequence[Batch], now: datetime) -> None:
        """Complete overdue batches, except those whose members may all wait in the queue."""
        unbegun = [batch.pk for batch in overdue if not batch.done + batch.failed and batch.updated > now - MAX_WAIT]
        if unbegun and self._has_waiting():
            due = now + timedelta(seconds=min(self.settings.batch_timeout, POSTPONED_SECONDS))
            rows(Batch, router.db_for_write(Batch)).filter(pk__in=unbegun, completed=None).update(due=due)
            overdue = [batch for batch in overdue if batch.pk not in unbegun]
        if overdue:
            self.results.close([batch.pk for batch in overdue], now)
        full = {batch.pk for batch in overdue if batch.done + batch.failed >= batch.total}
        for outcome in self.results.take_completed():
            if outcome.id not in full:
                log.iter.closed(outcome)

    def _has_waiting(self) -> bool:
        """Return True if packages wait in the queue, or if the broker is unavailable."""
        try:
            return self.broker.queue_size() > 0
        except BrokerError:
            return True

    def _deliver(self, ids: Sequence[str], now: datetime) -> None:
        batches = rows(Batch, router.db_for_write(Batch))
        completed = batches.filter(pk__in=ids, delivered=None).exclude(completed=None)
        failed = [batch.pk for batch in (completed if ids else ()) if not self.delivery.deliver_again(batch)]
        if failed:
            due = now + timedelta(seconds=INTERVAL_SECONDS)
            batches.filter(pk__in=failed, delivered=None).update(due=due)


def delete(ids: Sequence[str]) -> None:
    """Delete batches and their members."""
    if ids:
        using = router.db_for_write(Batch)
        for members in parts(rows(BatchMember, using).filter(batch_id__in=ids), using):
            members.delete()
        rows(Batch, using).filter(pk__in=ids).delete()
