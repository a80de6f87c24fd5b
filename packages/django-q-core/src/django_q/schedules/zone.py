"""Converts the dates of schedules after a change of `USE_TZ` or `TIME_ZONE`."""

from __future__ import annotations

from django.db import connections

from django_q.models import Schedule
from django_q.models.schedule import zone_of_columns
from django_q.schedules.polling import is_in_other_zone


def restore_moments(using: str) -> int:
    """Convert schedules that were saved when the database stored dates in another zone.

    Databases that store time zones, such as PostgreSQL, do not need this. All others store dates without a zone: in UTC
    with `USE_TZ`, otherwise in Django's `TIME_ZONE`.

    Args:
        using: alias of the database.

    Returns:
        The number of schedules that were converted.
    """
    zone = zone_of_columns(connections[using])
    if zone is None or not is_in_other_zone(using, zone):
        return 0
    others, count = Schedule._base_manager.using(using).exclude(zone=zone), 0
    for schedule in others:
        row = others.filter(pk=schedule.pk)  # without effect if another cluster was faster
        if schedule.zone is None:  # saved by a public edition, or with `bulk_create`
            row.update(zone=zone)
        else:
            count += row.update(zone=zone, next_run=schedule.next_run, retry_at=schedule.retry_at)
    return count
