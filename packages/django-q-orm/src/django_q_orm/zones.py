"""Corrects the locks of rows when the site changes `USE_TZ` or `TIME_ZONE`.

Databases that store time zones, such as PostgreSQL, need no correction. All others store dates without a zone: in UTC
with `USE_TZ`, otherwise in Django's `TIME_ZONE`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Q
from django_q.clock import rezoned

from django_q_orm.claims import RELEASED_NONCE, ZERO_ATTEMPTS
from django_q_orm.database_clock import moment

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from django_q_orm.models import OrmQ

MARGIN_SECONDS: Final = 600.0
"""A lock that is later than a lease by this time was written in another zone, because zones differ by more."""


def delayed(connection: BaseDatabaseWrapper, attempts: str = f"{ZERO_ATTEMPTS - 1:04}") -> str | None:
    """Return the `lease` of a delayed row, which contains the zone of its lock.

    Args:
        connection: connection to the database.
        attempts: count that the next lease continues.
    """
    if connection.features.supports_timezones:
        return None
    return f"{RELEASED_NONCE}:{attempts}:{connection.timezone_name}"


def correct_locks(rows: QuerySet[OrmQ], connection: BaseDatabaseWrapper, retry: float) -> int:
    """Correct locks that were written in another zone.

    A row that was never delayed is due. A lease ends at most `retry` seconds from now. A delayed row contains its zone.

    Args:
        rows: rows of one queue.
        connection: connection to their database.
        retry: duration of a lease in seconds.

    Returns:
        The number of corrected rows.
    """
    if connection.features.supports_timezones:
        return 0
    in_zone = Q(lease__endswith=":") | Q(lease__endswith=f":{connection.timezone_name}")
    here = Q(lease__startswith=RELEASED_NONCE) & in_zone
    impossible = Q(lock__gt=moment(connection, retry + MARGIN_SECONDS))
    strangers = rows.filter(impossible | Q(lease__startswith=RELEASED_NONCE)).exclude(here)
    return sum(
        rows.filter(pk=pk, lease=lease).update(**_corrected(lock, lease, connection, retry))
        if lease
        else rows.filter(pk=pk, lease=None).update(lock=moment(connection, -retry))
        for pk, lock, lease in list(strangers.values_list("pk", "lock", "lease"))
    )


def _corrected(lock: datetime, lease: str, connection: BaseDatabaseWrapper, retry: float) -> dict[str, object]:
    if not lease.startswith(RELEASED_NONCE):
        return {"lock": moment(connection, retry)}
    _, attempts, written = lease.split(":", 2)
    return {"lock": rezoned(lock, written, connection.timezone_name), "lease": delayed(connection, attempts)}
