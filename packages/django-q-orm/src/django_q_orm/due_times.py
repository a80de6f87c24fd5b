"""Due times of rows, as columns and conditions.

`lock` determines it, as in the public editions, if its dates are in UTC or have a zone. Otherwise they are in local
time, which goes back by an hour when summer time ends. Then two more columns determine it:

* `due` is in UTC. It is 0 if another edition inserted the row.
* `own_lock` is `lock` as this package wrote it. If both differ, another edition has leased the row, and `lock` counts,
  too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db.models import BigIntegerField, DateTimeField, F, FloatField, Q
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django_q.clock import zone_of

from django_q_orm.database_clock import (
    SQLITE_MICROSECONDS,
    WAITED_MICROSECONDS,
    has_clock,
    moment,
    moment_of_lease,
    read_clock,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from django_q_orm.models import OrmQ

SKEW_SECONDS: Final = 10.0
"""Maximum difference between the clocks of machines with other editions."""

MAX_CHANGE: Final = timedelta(hours=2)
"""Maximum time by which a change of the zone's offset sets clocks back."""

HEAD_SECONDS: Final = 100 * 365 * 86_400.0
"""Time by which the lock of a released package precedes those that were never fetched. No backlog is that old."""

FOREIGN_LOCK: Final = Q(own_lock=None) | ~Q(lock=F("own_lock"))
"""Condition of rows whose `lock` another edition wrote."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DueTimes:
    """Columns and conditions of rows by their `lock`.

    Args:
        connection: connection to the database.
        retry: duration of a lease in seconds.
    """

    order = "lock"
    """Column with the time at which a row is due."""

    def __init__(self, connection: BaseDatabaseWrapper, retry: float) -> None:
        self.connection = connection
        self.retry = retry

    def after(self, seconds: float) -> dict[str, Any]:
        """Return the columns of a row that is due after *seconds*."""
        return {"lock": moment(self.connection, seconds)}

    def at_once(self, ahead: float = 0) -> dict[str, Any]:
        """Return the columns of a row that is due now, *ahead* seconds before rows that are sent now.

        It is due since `retry` seconds, because django-q fetches no later rows.
        """
        return {"lock": moment(self.connection, -self.retry - ahead)}

    def returned(self) -> dict[str, Any]:
        """Return the columns of rows that are due before all that were never fetched, in the order of their ids."""
        return self._in_order(self.at_once(ahead=HEAD_SECONDS), "id")

    def requeued(self, ids: Sequence[int], first: int) -> dict[str, Any]:
        """Return the columns of rows that are due now, in the order of their ids.

        Args:
            ids: ids of the rows.
            first: number of rows that were requeued before these.
        """
        return self._in_order(self.at_once(), "(%s + array_position(%s::bigint[], id::bigint))", first, [*ids])

    def _in_order(self, columns: dict[str, Any], position: str, *params: Any) -> dict[str, Any]:
        """Set locks a microsecond apart on PostgreSQL, where most polls sort by `lock` alone.

        Args:
            columns: columns of the rows.
            position: SQL expression of a row's position.
            *params: parameters of that expression.
        """
        if self.connection.vendor == "postgresql":
            lock = columns["lock"]
            sql = f"{lock.sql} + {position} * interval '1 microsecond'"
            columns["lock"] = RawSQL(sql, [*lock.params, *params], DateTimeField())
        return columns

    def columns_of_many(self) -> Callable[[int], dict[str, Any]]:
        """Return a function that returns the columns of the n-th row of a batch. Locks differ by a microsecond."""
        lock = read_clock(self.connection) - timedelta(seconds=self.retry)
        return lambda number: {"lock": lock + timedelta(microseconds=number), "due": 0}

    def seconds_until_due(self, rows: QuerySet[OrmQ]) -> float:
        """Return the seconds until the first row is due; infinity if there is none."""
        locks = rows.filter(lock__isnull=False).order_by("lock")
        if self.connection.vendor == "postgresql":
            left = RawSQL("EXTRACT(EPOCH FROM lock - statement_timestamp())::float8", [], FloatField())
            seconds = locks.annotate(left=left).values_list("left", flat=True).first()
            return float("inf") if seconds is None else seconds
        if not has_clock(self.connection):
            lock = locks.values_list("lock", flat=True).first()
            return (lock - timezone.now()).total_seconds() if lock else float("inf")
        row = locks.annotate(now=moment(self.connection)).values_list("lock", "now").first()
        return (row[0] - row[1]).total_seconds() if row else float("inf")

    def leased(self) -> dict[str, Any]:
        """Return the columns of a row whose lease begins."""
        return {"lock": moment_of_lease(self.connection, self.retry)}

    def is_due(self) -> Q:
        """Return the condition that a row may be claimed."""
        return Q(lock__lte=moment(self.connection))

    def is_later(self) -> Q:
        """Return the condition that a row is leased or delayed."""
        return Q(lock__gt=moment(self.connection))

    def clock(self) -> Callable[[OrmQ], float]:
        """Read the clock, and return a function that returns the seconds until a row is due."""
        now = read_clock(self.connection)
        return lambda row: (row.lock - now).total_seconds() if row.lock else 0.0

    def by_lock(self, rows: QuerySet[OrmQ]) -> QuerySet[OrmQ]:
        """Return the rows whose `lock` determines when they are due."""
        return rows


class UtcDueTimes(DueTimes):
    """Columns and conditions of rows by `due`, for databases in which `lock` is in local time."""

    order = "due"

    def after(self, seconds: float) -> dict[str, Any]:
        """Return the columns. If the zone's offset changes meanwhile, `lock` is the later of two local times."""
        now = datetime.now(UTC)
        then = now + timedelta(seconds=seconds)
        lock = max(self._local(then), self._local(now) + timedelta(seconds=seconds))
        return {"lock": lock, "own_lock": lock, "due": microseconds(then)}

    def at_once(self, ahead: float = 0) -> dict[str, Any]:
        """Return the columns. `lock` is still in the past for other editions after clocks are set back."""
        now = datetime.now(UTC)
        lock = self._local(now) - timedelta(seconds=self.retry + ahead) - MAX_CHANGE
        return {"lock": lock, "own_lock": lock, "due": microseconds(now - timedelta(seconds=ahead))}

    def columns_of_many(self) -> Callable[[int], dict[str, Any]]:
        """Return a function that returns the columns of the n-th row of a batch. `due` differs by a microsecond."""
        columns = self.at_once()
        return lambda number: columns | {"due": columns["due"] + number}

    def seconds_until_due(self, rows: QuerySet[OrmQ]) -> float:
        """Return the seconds until the first row is due, without rows that other editions have leased."""
        if rows.filter(self.is_due()).exists():
            return 0.0
        now = microseconds(datetime.now(UTC))
        due = rows.filter(due__gt=now, lock__isnull=False).order_by("due").values_list("due", flat=True).first()
        return float("inf") if due is None else (due - now) / 1e6

    def leased(self) -> dict[str, Any]:
        """Return the columns of a row whose lease begins. `due` includes the time that the statement waits."""
        columns = self.after(self.retry)
        if self.connection.vendor == "mysql":
            columns["due"] = RawSQL(f"%s + {WAITED_MICROSECONDS}", [columns["due"]], BigIntegerField())
        elif self.connection.vendor == "sqlite":
            columns["due"] = RawSQL(f"{SQLITE_MICROSECONDS} + %s", [round(self.retry * 1e6) + 1_000], BigIntegerField())
        return columns

    def is_due(self) -> Q:
        """Return the condition that a row is due in UTC, and that no other edition has leased it."""
        return Q(due__lte=microseconds(datetime.now(UTC))) & (Q(lock=F("own_lock")) | self._has_passed())

    def is_later(self) -> Q:
        """Return the condition that a row is leased or delayed, by this package or by another edition."""
        foreign = FOREIGN_LOCK & Q(lock__isnull=False) & ~self._has_passed()
        return Q(due__gt=microseconds(datetime.now(UTC))) | foreign

    def clock(self) -> Callable[[OrmQ], float]:
        """Return a function that returns the seconds until a row is due, or until a lease of another edition ends."""
        utc = datetime.now(UTC)
        now, local = microseconds(utc), self._local(utc)

        def seconds(row: OrmQ) -> float:
            left = (row.due - now) / 1e6
            if row.lock is None or row.lock == row.own_lock:
                return left
            return max(left, (row.lock - local).total_seconds())

        return seconds

    def by_lock(self, rows: QuerySet[OrmQ]) -> QuerySet[OrmQ]:
        """Return the rows that another edition has inserted or leased."""
        return rows.filter(FOREIGN_LOCK)

    def _has_passed(self) -> Q:
        """Return the condition that a `lock` of another edition has passed.

        In the second of two equal hours, when summer time ends, a `lock` beyond the end of a lease is from the first.
        """
        now = datetime.now(zone_of(self.connection.timezone_name))
        shown, passed = now.replace(tzinfo=None, fold=0), Q(lock__lte=now.replace(tzinfo=None, fold=0))
        if now.fold:
            repeated = (now.replace(fold=0).utcoffset() or timedelta()) - (now.utcoffset() or timedelta())
            lease = timedelta(seconds=self.retry + SKEW_SECONDS)
            passed |= Q(lock__gt=shown + lease, lock__lte=shown + repeated)
        return passed

    def _local(self, at: datetime) -> datetime:
        return at.astimezone(zone_of(self.connection.timezone_name)).replace(tzinfo=None, fold=0)


def due_times_of(connection: BaseDatabaseWrapper, retry: float) -> DueTimes:
    """Return the due times of a database: by `due` if dates are in local time, otherwise by `lock`."""
    is_local = not settings.USE_TZ and not connection.features.supports_timezones
    return (UtcDueTimes if is_local else DueTimes)(connection, retry)


def microseconds(at: datetime) -> int:
    """Return the value of `due` for a time."""
    return (at - EPOCH) // timedelta(microseconds=1)
