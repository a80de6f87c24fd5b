"""Keeps the moments of schedules when the site changes `USE_TZ` or `TIME_ZONE`."""

from __future__ import annotations

from django.db import connections

from django_q.models import Schedule
from django_q.models.schedule import zone_of_columns
from django_q.schedules.polling import is_in_other_zone


def restore_moments(using: str) -> int:
    """Convert schedules that were saved when the database kept its dates in another zone.

    Databases with time zones of their own, such as PostgreSQL, need none of this. All others keep dates without a zone:
    in UTC with `USE_TZ`, in Django's `TIME_ZONE` without.

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
        row = others.filter(pk=schedule.pk)  # unless another cluster was faster
        if schedule.zone is None:  # saved by a public edition, or with `bulk_create`
            row.update(zone=zone)
        else:
            count += row.update(zone=zone, next_run=schedule.next_run, retry_at=schedule.retry_at)
    return count
