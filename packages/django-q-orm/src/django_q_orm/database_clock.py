"""Times by the clock of the database, if it agrees with the columns of Django."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL
from django.utils import timezone

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


DATE_TIME: Final = DateTimeField()
"""Type of the expressions. To create one takes as long as the rest of an expression."""

VENDORS: Final = ("mysql", "postgresql", "sqlite")
"""Databases with our own SQL statements. For others, Django generates all statements."""

WAITED_MICROSECONDS: Final = "TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6))"
"""Time that a statement of MySQL or MariaDB has waited for locks: NOW is its start, SYSDATE the current time."""

SQLITE_MICROSECONDS: Final = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000"
"""Current time of SQLite: microseconds since 1970. It counts milliseconds."""


def has_clock(connection: BaseDatabaseWrapper) -> bool:
    """Return True if the database's clock is used: clusters with different clocks then agree on the end of a lease."""
    agrees = settings.USE_TZ and connection.timezone_name == "UTC"
    return connection.vendor == "postgresql" or (connection.vendor == "mysql" and agrees)


def moment(connection: BaseDatabaseWrapper, seconds: float = 0) -> RawSQL:
    """Return the SQL of the time *seconds* from now."""
    microseconds = round(seconds * 1e6)
    if not has_clock(connection):
        then = timezone.now() + timedelta(microseconds=microseconds)
        return RawSQL("%s", [connection.ops.adapt_datetimefield_value(then)], DATE_TIME)
    if connection.vendor == "mysql":
        return RawSQL("UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND", [microseconds], DATE_TIME)
    return RawSQL("statement_timestamp() + %s * interval '1 microsecond'", [microseconds], DATE_TIME)


def moment_of_lease(connection: BaseDatabaseWrapper, seconds: float) -> RawSQL:
    """Return the SQL of the time *seconds* after a row is written, because the statement may wait for a lock first.

    SQLite waits for its lock before it evaluates functions. It counts milliseconds, so one is added.
    """
    if connection.vendor == "postgresql":
        return RawSQL("clock_timestamp() + %s * interval '1 microsecond'", [round(seconds * 1e6)], DATE_TIME)
    if connection.vendor == "sqlite" and settings.USE_TZ and connection.timezone_name == "UTC":
        then = f"{seconds + 0.001:+.3f} seconds"
        return RawSQL("strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s)", [then], DATE_TIME)
    then = moment(connection, seconds)
    if connection.vendor == "mysql":
        return RawSQL(f"{then.sql} + INTERVAL {WAITED_MICROSECONDS} MICROSECOND", then.params, DATE_TIME)
    return then


def read_clock(connection: BaseDatabaseWrapper) -> datetime:
    """Return the current time of the database."""
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
