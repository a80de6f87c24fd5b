"""Messages about iters and their batches."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_q.log.events import Message, event
from django_q.log.fields import of_outcome, of_task
from django_q.text import error_line, one_line

if TYPE_CHECKING:
    from django_q.models import Batch
    from django_q.wire.outcome import Outcome


@event(logging.WARNING)
def not_delivered(outcome: Outcome, error: Exception) -> Message:
    """Log that the result of an iter could not be delivered to the cache or to its callback."""
    text = "Iter '%s' (%s): not delivered (%s), retrying later"
    return Message(text, (one_line(outcome.name), outcome.id, error_line(error)), of_outcome(outcome))


@event(logging.ERROR)
def closed(outcome: Outcome) -> Message:
    """Log that an iter was completed without its lost members."""
    text = "Iter '%s' (%s): completed without its lost members (batch_timeout)"
    return Message(text, (one_line(outcome.name), outcome.id), of_outcome(outcome))


@event(logging.DEBUG)
def left_to_members(batch: Batch) -> Message:
    """Log that the first member of an iter creates its batch, because a coroutine has sent it."""
    return Message("Iter %s: its first member creates the batch", (batch.pk,), of_task(batch.pk))


@event(logging.WARNING)
def not_inserted(batch: Batch, error: Exception) -> Message:
    """Log that the first member of an iter creates its batch, because the database failed."""
    text = "Iter %s: batch not inserted (%s), its first member creates it"
    return Message(text, (batch.pk, error_line(error)), of_task(batch.pk))
