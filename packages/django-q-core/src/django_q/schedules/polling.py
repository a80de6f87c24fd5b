"""Polls for due schedules with one statement, without Django's query compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from django_q.databases.statements import Condition, is_any
from django_q.models import Schedule
from django_q.settings.rules import DEAD_LETTER_ENDS

if TYPE_CHECKING:
    from datetime import datetime

    from django_q.settings import ClusterSettings


def is_soon_due(settings: ClusterSettings, using: str, now: datetime, until: datetime) -> bool:
    """Return True if a schedule of this cluster is due before *until*, and may be sent *now*."""
    moment = connections[using].ops.adapt_datetimefield_value
    due = Condition(
        "{next_run} <= %s AND {repeats} <> 0 AND ({retry_at} IS NULL OR {retry_at} <= %s)",
        [moment(until), moment(now)],
    )
    return is_any(Schedule, using, due & _ours(settings))


def is_in_code(settings: ClusterSettings, using: str) -> bool:
    """Return True if code has declared a schedule of this cluster, at any time."""
    return is_any(Schedule, using, Condition("{in_code} IN (%s)", [True]) & _ours(settings))


def is_in_other_zone(using: str, zone: str) -> bool:
    """Return True if any schedule was saved with dates of another zone, or of an unknown one."""
    return is_any(Schedule, using, Condition("{zone} IS NULL OR {zone} <> %s", [zone]))


def _ours(settings: ClusterSettings) -> Condition:
    """Select the schedules of this cluster.

    The default cluster also has those without a cluster, and those whose cluster cannot exist, to mark the latter.
    """
    ours = "{cluster} = %s"
    if not settings.is_default_cluster:
        return Condition(ours, [settings.list_key])
    ours += " OR {cluster} IS NULL OR {cluster} = ''" + " OR {cluster} LIKE %s" * len(DEAD_LETTER_ENDS)
    return Condition(ours, [settings.list_key, *(f"%{end}" for end in DEAD_LETTER_ENDS)])
