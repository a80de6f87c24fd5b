"""Inserts the batch of an iter when its members are sent, so that it is completed even if all members are lost."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections, router, transaction
from django.utils import timezone

from django_q import tracing
from django_q.log import messages as log
from django_q.models import Batch
from django_q.workflows.batch_delivery import BatchDelivery
from django_q.workflows.batch_rows import insert_batches, rows
from django_q.workflows.batches import BatchResults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django_q.brokers import Broker


@contextmanager
def opened(batch: Batch, broker: Broker, delay: float) -> Iterator[None]:
    """Insert a batch before the block sends its members, and delete it if the block fails.

    If the batch cannot be inserted, the first member that is saved creates it.

    Args:
        batch: not saved.
        broker: sends the members.
        delay: seconds before the members are delivered.
    """
    batch.cluster, batch.queue = broker.settings.list_key, broker.list_key
    batch.due = timezone.now() + timedelta(seconds=delay + broker.settings.batch_timeout)
    batch.trace = tracing.current_parent(broker.settings)
    using = router.db_for_write(Batch)
    _log_error_of(lambda: _insert(batch, using, broker), batch)
    try:
        yield
    except BaseException:
        _log_error_of(lambda: _delete(batch, using), batch)
        raise


@contextmanager
def completed_at_once(batch: Batch, broker: Broker, _delay: float) -> Iterator[None]:
    """Complete a batch without members.

    Raises:
        django.db.DatabaseError: the result was not saved.
    """
    yield
    batch.cluster, batch.queue, batch.due = broker.settings.list_key, broker.list_key, timezone.now()
    insert_batches([batch], router.db_for_write(Batch))
    results = BatchResults(broker.settings, broker.list_key)
    results.close([batch.pk], batch.due)
    BatchDelivery(broker.settings, broker).deliver(results.take_completed())


def _insert(batch: Batch, using: str, broker: Broker) -> None:
    """Insert a batch now, or when the caller's transaction has committed.

    A row of an open transaction would block a cluster that saves members before the commit. This cannot happen if the
    transaction also enqueues the members.
    """
    connection = connections[using]
    if broker.alias == using or (connection.get_autocommit() and not connection.in_atomic_block):
        insert_batches([batch], using)
    elif connection.in_atomic_block:
        transaction.on_commit(lambda: _log_error_of(lambda: insert_batches([batch], using), batch), using=using)


def _delete(batch: Batch, using: str) -> None:
    with transaction.atomic(using=using):
        rows(Batch, using).filter(pk=batch.pk, done=0, failed=0, completed=None).delete()


def _log_error_of(work: Callable[[], None], batch: Batch) -> None:
    try:
        work()
    except SynchronousOnlyOperation:  # called from a coroutine
        log.iter.left_to_members(batch)
    except Exception as error:  # noqa: BLE001 - the iter is sent in spite of any error of the database
        log.iter.not_inserted(batch, error)
