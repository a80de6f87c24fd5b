"""Delivers the results of completed batches to the cache and to their callbacks, and retries until it succeeds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import router
from django.utils import timezone

from django_q import clock
from django_q.brokers import broker_of
from django_q.context import running
from django_q.dispatch import send_many
from django_q.exceptions import ResultsUnavailable
from django_q.execution.hooks import run_hook
from django_q.log import messages as log
from django_q.models import Batch, Task
from django_q.results.database import existing
from django_q.results.store import ResultStore
from django_q.settings import current_settings
from django_q.wire.codec import ResultCodec
from django_q.wire.package import new_package
from django_q.workflows.batch_rows import forget_members, members_of, rows
from django_q.workflows.batches import KEPT_SECONDS
from django_q.workflows.collation import collate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_q.brokers import Broker
    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome

CACHE_RETRY_SECONDS: Final = 10.0
"""Pause after which an unavailable cache is tried again."""

CALLBACK_PATH: Final = f"{__name__}.call_back"
"""Dotted path of the task that runs a callback."""


class BatchDelivery:
    """Delivers collated outcomes. Delivery is idempotent.

    Args:
        settings: of the cluster.
        broker: of its queue.
    """

    def __init__(self, settings: ClusterSettings, broker: Broker) -> None:
        self.settings = settings
        self.broker = broker
        self.codec = ResultCodec.of(settings)
        self.cache_retry_at = 0.0
        """Time of the next try of the cache (`clock.monotonic`, seconds), so that an outage delays nothing else."""

    def deliver(self, completed: Iterable[Outcome]) -> None:
        """Deliver outcomes of batches completed just now. The maintenance step retries those that fail."""
        for outcome in completed:
            if outcome.cached or outcome.hook:
                self._try_to_deliver(outcome, self.broker.list_key)

    def deliver_again(self, batch: Batch) -> bool:
        """Deliver a batch that was completed earlier.

        Returns:
            True if it is delivered, or if the task of its callback is queued.
        """
        using = router.db_for_write(Batch)
        outcome = collated(batch, self.codec, using)
        return self._try_to_deliver(outcome, batch.queue or self.broker.list_key, batch.cluster)

    def _try_to_deliver(self, outcome: Outcome, list_key: str, cluster: str | None = None) -> bool:
        if outcome.cached and clock.monotonic() < self.cache_retry_at:
            return False
        try:
            is_elsewhere = bool(cluster) and list_key != self.broker.list_key
            self._deliver(outcome, list_key, broker_of(str(cluster)) if is_elsewhere else self.broker)
        except Exception as error:  # noqa: BLE001 - the members are saved, and no error may stop other deliveries
            if isinstance(error, ResultsUnavailable):
                self.cache_retry_at = clock.monotonic() + CACHE_RETRY_SECONDS
            log.iter.not_delivered(outcome, error)
            return False
        return True

    def _deliver(self, outcome: Outcome, list_key: str, broker: Broker) -> None:
        if outcome.cached:
            ResultStore(self.settings, list_key).save_cached([outcome])
        if outcome.hook is None:
            mark_delivered(outcome.id)
            return
        name = f"callback of {outcome.name}"[:100]
        package = new_package(CALLBACK_PATH, (outcome.id,), name=name, save=False)
        if self.settings.tracing:
            batch = rows(Batch, router.db_for_write(Batch)).filter(pk=outcome.id).only("trace").first()
            package["trace"] = {"traceparent": batch.trace} if batch and batch.trace else {}
        send_many([package], broker=broker, settings=self.settings)
        # The broker has the package now. The maintenance step sends it again only if it was lost.
        due = timezone.now() + timedelta(seconds=self.settings.batch_timeout)
        rows(Batch, router.db_for_write(Batch)).filter(pk=outcome.id, delivered=None).update(due=due)


def collated(batch: Batch, codec: ResultCodec, using: str) -> Outcome:
    """Return the collated outcome of a batch whose members are not deleted."""
    return collate(batch, members_of(batch, using), codec, batch.completed or timezone.now())


def mark_delivered(batch_id: str) -> None:
    """Record the delivery of a batch, and delete what its members no longer need."""
    using, now = router.db_for_write(Batch), timezone.now()
    due = now + timedelta(seconds=KEPT_SECONDS)
    rows(Batch, using).filter(pk=batch_id, delivered=None).update(delivered=now, due=due)
    for batch in rows(Batch, using).filter(pk=batch_id).only("failed"):
        forget_members(batch, using)


def call_back(batch_id: str) -> None:
    """Call the callback of a completed batch with its collated task, like a hook. A worker executes this as a task."""
    using, settings = router.db_for_write(Batch), current_settings()
    batch = rows(Batch, using).filter(pk=batch_id, delivered=None).exclude(completed=None).first()
    if batch is None:
        return
    codec = ResultCodec.of(settings)
    outcome = collated(batch, codec, using)
    finished = codec.loads(outcome.finished or "")
    saved = bool(existing([batch_id], router.db_for_write(Task)))
    with running(finished):
        run_hook(batch.callback, Task.from_package(finished, saved=saved), settings)
    mark_delivered(batch_id)
