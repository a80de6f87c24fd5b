"""Polls for due schedules with one statement, without Django's query compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from django_q.databases.statements import Condition, is_any
from django_q.models import Schedule
from django_q.schedules.ownership import sql_of_cluster

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
    return is_any(Schedule, using, due & sql_of_cluster(settings))


def is_in_code(settings: ClusterSettings, using: str) -> bool:
    """Return True if code has declared a schedule of this cluster, at any time."""
    return is_any(Schedule, using, Condition("{in_code} IN (%s)", [True]) & sql_of_cluster(settings))


def is_in_other_zone(using: str, zone: str) -> bool:
    """Return True if any schedule was saved with dates of another zone, or of an unknown one."""
    return is_any(Schedule, using, Condition("{zone} IS NULL OR {zone} <> %s", [zone]))
