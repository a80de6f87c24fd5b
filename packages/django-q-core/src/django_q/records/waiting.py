"""Measures for how long tracked tasks have waited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Min
from django.db.models.functions import Coalesce
from django.utils import timezone

from django_q.models.record import Record, Status

if TYPE_CHECKING:
    from collections.abc import Sequence


def oldest_wait(queues: Sequence[str]) -> float:
    """Return the seconds for which the oldest tracked task of some queues has waited; 0 if none waits.

    Retries do not count: the end of their delay is not recorded.
    """
    now = timezone.now()
    waiting = Record.objects.filter(queue__in=queues, status__in=(Status.QUEUED, Status.SCHEDULED))
    oldest = waiting.aggregate(oldest=Min(Coalesce("run_after", "enqueued_at")))["oldest"]
    return max((now - oldest).total_seconds(), 0.0) if oldest else 0.0
