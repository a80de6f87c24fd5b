"""Points in time, by the database's clock where it has one that Django's columns agree with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL
from django.utils import timezone

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


VENDORS: Final = ("mysql", "postgresql", "sqlite")
"""Databases for which there are statements of our own; for others Django writes all of them."""

WAITED_MICROSECONDS: Final = "TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6))"
"""Time that a statement of MySQL or MariaDB has waited for locks: NOW is its beginning, SYSDATE the present."""


def has_clock(connection: BaseDatabaseWrapper) -> bool:
    """Is the database asked for the time? Then clusters on hosts whose clocks differ agree on the end of a lease."""
    agrees = settings.USE_TZ and connection.timezone_name == "UTC"
    return connection.vendor == "postgresql" or (connection.vendor == "mysql" and agrees)


def moment(connection: BaseDatabaseWrapper, seconds: float = 0) -> RawSQL:
    """*seconds* from now, in SQL."""
    microseconds = round(seconds * 1e6)
    if not has_clock(connection):
        then = timezone.now() + timedelta(microseconds=microseconds)
        return RawSQL("%s", [connection.ops.adapt_datetimefield_value(then)], DateTimeField())
    if connection.vendor == "mysql":
        return RawSQL("UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND", [microseconds], DateTimeField())
    return RawSQL("statement_timestamp() + %s * interval '1 microsecond'", [microseconds], DateTimeField())


def moment_of_lease(connection: BaseDatabaseWrapper, seconds: float) -> RawSQL:
    """Return the SQL of *seconds* from when a row is written: the statement may have waited for a lock before."""
    if connection.vendor == "postgresql":
        return RawSQL("clock_timestamp() + %s * interval '1 microsecond'", [round(seconds * 1e6)], DateTimeField())
    then = moment(connection, seconds)
    if connection.vendor == "mysql":
        return RawSQL(f"{then.sql} + INTERVAL {WAITED_MICROSECONDS} MICROSECOND", then.params, DateTimeField())
    return then


def read_clock(connection: BaseDatabaseWrapper) -> datetime:
    """Now, as the database has it."""
    if not has_clock(connection):
        return timezone.now()
    is_postgres = connection.vendor == "postgresql"
    # A date without a zone would be ambiguous when summer time ends.
    now = "statement_timestamp() AT TIME ZONE 'UTC'" if is_postgres else "UTC_TIMESTAMP(6)"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now}")
        (value,) = cursor.fetchone()
    if is_postgres:
        return value.replace(tzinfo=UTC)
    return value if timezone.is_aware(value) or not settings.USE_TZ else timezone.make_aware(value, connection.timezone)
