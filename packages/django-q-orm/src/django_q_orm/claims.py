"""Claims rows: leases each due row exactly once, in as few statements as the database allows."""

from __future__ import annotations

import secrets
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import CharField, IntegerField, Value
from django.db.models.functions import Cast, Coalesce, Concat, Least, Substr
from django_q.databases.names import is_named
from django_q.databases.sqlite import MAX_WRITTEN_ROWS

from django_q_orm.database_clock import VENDORS, moment, moment_of_lease
from django_q_orm.due_times import due_times_of
from django_q_orm.locks import claiming

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet
    from django.db.models.expressions import RawSQL

    from django_q_orm.due_times import DueTimes
    from django_q_orm.models import OrmQ


ASYNCHRONOUS_COMMIT = ", set_config('synchronous_commit', 'off', true)"
"""SQL: PostgreSQL commits a claim without waiting for the disk. A claim that a crash undoes is an expired lease."""


MAX_CLAIMED_ROWS = 500
"""Maximum number of rows of a claim by ids: SQL Server allows 2,100 parameters."""

OPEN_TRANSACTION_SECONDS = 0.25
"""Maximum time between the insert of a row and its commit, so that the row is found without a full scan."""


class Claim(NamedTuple):
    """A row that was leased."""

    lease: str
    """`<nonce>:<1000 + attempts>:<id>`. It identifies the row and the delivery, and contains the earlier attempts."""
    payload: str
    attempt: int
    """Attempt number of the delivery."""

    @classmethod
    def of(cls, lease: str, payload: str) -> Claim:
        """Return the claim of a lease and its package."""
        return cls(lease, payload, attempts_of(lease) + 1)


class Claimed(NamedTuple):
    """Result of a claim."""

    rows: list[Claim]
    since: str | None = None
    """PostgreSQL: lowest lock of rows that were never leased and may wait; None requires a full scan."""


def row_of(lease: str) -> int:
    """Return the id of the row of a lease."""
    return int(lease.rpartition(":")[2])


NONCE_CHARACTERS = 16

ZERO_ATTEMPTS, MAX_ATTEMPTS_MARK = 1000, 9999
"""Numbers in a lease for no earlier attempt, and for the maximum. Four digits keep the position of the count fixed."""

RELEASED_NONCE = "-" * NONCE_CHARACTERS
"""Replaces the nonce in a released row: the row is not leased, and its next lease continues the count."""


def attempts_of(lease: str) -> int:
    """Return the number of attempts before a lease."""
    return max(0, int(lease.split(":")[1]) - ZERO_ATTEMPTS)


def released(leases: Iterable[str], *, attempted: bool, zone: str = "") -> dict[str | None, list[str]]:
    """Group leases by the value that replaces them when they are released.

    Args:
        leases: leases of the rows.
        attempted: True if these deliveries count as attempts.
        zone: time zone of the new locks, if the database stores none with them.
    """
    found: dict[str | None, list[str]] = {}
    for lease in leases:
        attempts = attempts_of(lease) + attempted
        # The next lease adds one to this count.
        mark = f"{RELEASED_NONCE}:{min(ZERO_ATTEMPTS + attempts - 1, MAX_ATTEMPTS_MARK)}:{zone}" if attempts else None
        found.setdefault(mark, []).append(lease)
    return found


def claim(
    table: QuerySet[OrmQ],
    connection: BaseDatabaseWrapper,
    key: str,
    limit: int,
    seconds: float,
    since: str | None = None,
) -> Claimed:
    """Lease due rows of a queue, the longest due first.

    Args:
        table: rows of all queues.
        connection: connection to their database.
        key: name of the queue.
        limit: maximum number of rows.
        seconds: duration of the lease.
        since: PostgreSQL: `since` of an earlier claim. Only rows that were never leased, from this lock on, are read.
    """
    nonce = secrets.token_hex(NONCE_CHARACTERS // 2)
    if connection.vendor == "postgresql":
        return _by_postgres(table, connection, key, limit, seconds, nonce, since)
    due_times = due_times_of(connection, seconds)
    if connection.vendor == "sqlite" and returns_rows(connection) and due_times.order == "lock":
        return Claimed(_in_one_statement(table, connection, key, limit, seconds, nonce))
    return Claimed(_in_one_transaction(table, connection, key, limit, due_times, nonce))


def returns_rows(connection: BaseDatabaseWrapper) -> bool:
    """Return True if the database supports `DELETE … RETURNING`."""
    return connection.vendor in VENDORS and connection.features.can_return_rows_from_bulk_insert


def _by_postgres(
    table: QuerySet[OrmQ],
    connection: BaseDatabaseWrapper,
    key: str,
    limit: int,
    seconds: float,
    nonce: str,
    since: str | None,
) -> Claimed:
    """Claim by `UPDATE … RETURNING`, and return the lock from which the next claim may read.

    A sender inserts rows with a lock `retry` seconds ago. Later locks belong to expired leases, delays, and senders
    with a shorter `retry`. If the claim returns *limit* rows and some have later locks, there may be more of these.
    """
    name = connection.ops.quote_name(table.model._meta.db_table)
    now, sent, late = (moment(connection, each) for each in (0, -seconds, -seconds - OPEN_TRANSACTION_SECONDS))
    until = moment_of_lease(connection, seconds)
    part, order, bounds = now.sql, "lock, id", now.params
    if since is not None:  # in the order of the index alone; otherwise PostgreSQL reads and sorts all waiting rows
        part, order, bounds = f"{sent.sql} AND lock >= %s", "lock", [*sent.params, since]
    statement = (
        f"WITH due AS MATERIALIZED ("
        f"SELECT id, lock FROM {name} WHERE key = %s AND lock <= {part} ORDER BY {order} LIMIT %s "
        f"FOR UPDATE SKIP LOCKED), "
        f"taken AS ({_take_due(name, until, 'LEAST')}) "
        f"SELECT (SELECT CASE WHEN count(*) < %s THEN {late.sql} WHEN max(lock) <= {sent.sql} THEN max(lock) END "
        f"FROM due)::text, taken.*{'' if connection.in_atomic_block else ASYNCHRONOUS_COMMIT} "
        f"FROM (VALUES (1)) AS one LEFT JOIN taken ON true"
    )
    claimed = [key, *bounds, limit, *until.params, f"{nonce}:"]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*claimed, limit, *late.params, *sent.params])
        found = cursor.fetchall()
    rows = sorted(row[1:4] for row in found if row[1] is not None)
    return Claimed([Claim.of(lease, payload) for _id, lease, payload in rows], found[0][0])


def _in_one_statement(
    table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, key: str, limit: int, seconds: float, nonce: str
) -> list[Claim]:
    """Claim by `UPDATE … RETURNING`, if a row is due: an UPDATE without rows locks SQLite's database, too."""
    name, limit = connection.ops.quote_name(table.model._meta.db_table), min(limit, MAX_WRITTEN_ROWS)
    now, until = moment(connection), moment_of_lease(connection, seconds)
    due = f"SELECT id FROM {name} WHERE key = %s AND lock <= {now.sql} ORDER BY lock, id LIMIT %s"
    statement = f"WITH due AS ({due}) {_take_due(name, until, 'MIN')}"
    with connection.cursor() as cursor:
        if cursor.execute(due, [key, *now.params, 1]).fetchone() is None:
            return []
        cursor.execute(statement, [key, *now.params, limit, *until.params, f"{nonce}:"])
        return [Claim.of(lease, payload) for _id, lease, payload in sorted(cursor.fetchall())]


def _take_due(name: str, until: RawSQL, least: str) -> str:
    """Return the `UPDATE … RETURNING` of the rows in `due`. Its parameters are those of *until*, and `<nonce>:`.

    *least* is the database's function for the smallest of several values.
    """
    found = f"COALESCE(CAST(SUBSTR(lease, {NONCE_CHARACTERS + 2}, 4) AS INTEGER), {ZERO_ATTEMPTS - 1})"
    count = f"{least}({found} + 1, {MAX_ATTEMPTS_MARK})"
    return (
        f"UPDATE {name} SET lock = {until.sql}, lease = %s || ({count}) || ':' || id "
        f"WHERE id IN (SELECT id FROM due) RETURNING id, lease, payload"
    )


def _in_one_transaction(
    table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, key: str, limit: int, due_times: DueTimes, nonce: str
) -> list[Claim]:
    """Claim by `SELECT … FOR UPDATE SKIP LOCKED`, if supported, and a conditional `UPDATE`.

    On an SQLite without `RETURNING`, each statement is a transaction: a transaction that began with a read may be
    unable to write.
    """
    features = connection.features
    limit = min(limit, MAX_CLAIMED_ROWS if features.has_select_for_update else MAX_WRITTEN_ROWS)
    found_count = Coalesce(Cast(Substr("lease", NONCE_CHARACTERS + 2, 4), IntegerField()), ZERO_ATTEMPTS - 1)
    count = Least(found_count + 1, MAX_ATTEMPTS_MARK)
    lease = Concat(Value(f"{nonce}:"), Cast(count, CharField()), Value(":"), Cast("id", CharField()))
    due = table.filter(is_named("key", key), due_times.is_due())
    with claiming(connection) if features.has_select_for_update else nullcontext():
        first = due.order_by(due_times.order, "id")
        if features.has_select_for_update_skip_locked and features.supports_select_for_update_with_limit:
            first = first.select_for_update(skip_locked=True)
        seen = first.values_list("id", "payload", "lease")[:limit]
        if features.has_select_for_update_skip_locked and not features.supports_select_for_update_with_limit:
            ids = [row[0] for row in seen]  # Oracle
            seen = due.filter(id__in=ids).select_for_update(skip_locked=True).values_list("id", "payload", "lease")
        found = {row[0]: row for row in seen}
        if not found:
            return []
        taken = due.filter(id__in=found).update(lease=lease, **due_times.leased())
        if taken < len(found):
            won = set(table.filter(id__in=found, lease__startswith=nonce).values_list("id", flat=True))
            found = {number: row for number, row in found.items() if number in won}
    return [Claim.of(f"{nonce}:{after(lease)}:{number}", payload) for number, payload, lease in found.values()]


def after(lease: str | None) -> int:
    """Return the count of the next lease after *lease* on the same row."""
    if not lease:
        return ZERO_ATTEMPTS
    return min(int(lease[NONCE_CHARACTERS + 1 : NONCE_CHARACTERS + 5]) + 1, MAX_ATTEMPTS_MARK)
