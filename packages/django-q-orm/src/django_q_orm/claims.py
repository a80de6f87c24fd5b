"""Taking rows under a lease, each exactly once, in as few statements as the database allows."""

from __future__ import annotations

import secrets
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import CharField, IntegerField, Value
from django.db.models.functions import Cast, Coalesce, Concat, Least, Substr
from django_q.databases.names import is_named
from django_q.databases.sqlite import MAX_WRITTEN_ROWS

from django_q_orm.database_clock import VENDORS, moment, moment_of_lease
from django_q_orm.locks import claiming
from django_q_orm.offers import offers_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet
    from django.db.models.expressions import RawSQL

    from django_q_orm.models import OrmQ
    from django_q_orm.offers import Offers


LIGHTLY = ", set_config('synchronous_commit', 'off', true)"
"""PostgreSQL need not wait for its disk to commit a claim: one that a crash undoes is an expired lease, no loss."""


MAX_CLAIMED_ROWS = 500
"""Maximum number of rows of a claim that names them: SQL Server takes no more than 2,100 parameters."""

MARGIN = 0.25
"""Seconds for which a transaction may stay open after it has sent a task, and the task be found at once."""


class Claim(NamedTuple):
    """A row that is ours for a while."""

    lease: str
    """`<nonce>:<1000 + attempts>:<id>`: it identifies the row and the delivery, and counts earlier attempts."""
    payload: str
    attempt: int
    """The attempt number of the delivery."""

    @classmethod
    def of(cls, lease: str, payload: str) -> Claim:
        """Make it from a row that was leased."""
        return cls(lease, payload, attempts_of(lease) + 1)


class Claimed(NamedTuple):
    """What a look has found."""

    rows: list[Claim]
    since: str | None = None
    """PostgreSQL: the lock of the oldest row that may wait now, of those that were never taken; None: look at all."""


def row_of(lease: str) -> int:
    """The id of the row that a lease is on."""
    return int(lease.rpartition(":")[2])


NONCE_CHARACTERS = 16

NONE_YET, MAX_COUNT = 1000, 9999
"""How a lease writes no and the most earlier attempts: with four digits, the count is always at the same place."""

RELEASED = "-" * NONCE_CHARACTERS
"""Stands in a released row in place of the nonce: the row is not leased, and its next lease counts on."""


def attempts_of(lease: str) -> int:
    """Return the number of attempts before a lease."""
    return max(0, int(lease.split(":")[1]) - NONE_YET)


def released(leases: Iterable[str], *, attempted: bool, zone: str = "") -> dict[str | None, list[str]]:
    """Group leases by what their rows contain instead once they are released.

    Args:
        leases: of the rows.
        attempted: whether these deliveries count as attempts.
        zone: time zone of the new locks, if the database keeps none with them.
    """
    found: dict[str | None, list[str]] = {}
    for lease in leases:
        attempts = attempts_of(lease) + attempted
        # The next lease adds one to the count that it finds.
        mark = f"{RELEASED}:{min(NONE_YET + attempts - 1, MAX_COUNT)}:{zone}" if attempts else None
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
    """Lease rows of a queue that are due, the longest due first.

    Args:
        table: all rows of all queues.
        connection: to their database.
        key: of the queue.
        limit: how many rows at the most.
        seconds: how long the lease is.
        since: PostgreSQL: read only what was never taken and is not older than this, as an earlier look has given it.
    """
    nonce = secrets.token_hex(NONCE_CHARACTERS // 2)
    if connection.vendor == "postgresql":
        return _by_postgres(table, connection, key, limit, seconds, nonce, since)
    offers = offers_of(connection, seconds)
    if connection.vendor == "sqlite" and returns_rows(connection) and offers.order == "lock":
        return Claimed(_in_one_statement(table, connection, key, limit, seconds, nonce))
    return Claimed(_in_one_transaction(table, connection, key, limit, offers, nonce))


def returns_rows(connection: BaseDatabaseWrapper) -> bool:
    """Does `DELETE … RETURNING` work here?"""
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
    """`UPDATE … RETURNING`, and from where the next look may read.

    A sender locks its row until `retry` seconds ago. Younger locks are of leases that have ended, of delays, and of
    senders with a shorter `retry`: once there are as many as may be taken, there may be more.
    """
    name = connection.ops.quote_name(table.model._meta.db_table)
    now, sent, late = (moment(connection, each) for each in (0, -seconds, -seconds - MARGIN))
    until = moment_of_lease(connection, seconds)
    part, order, bounds = now.sql, "lock, id", now.params
    if since is not None:  # in the order of the index alone, or PostgreSQL reads and sorts all that wait
        part, order, bounds = f"{sent.sql} AND lock >= %s", "lock", [*sent.params, since]
    statement = (
        f"WITH due AS MATERIALIZED ("
        f"SELECT id, lock FROM {name} WHERE key = %s AND lock <= {part} ORDER BY {order} LIMIT %s "
        f"FOR UPDATE SKIP LOCKED), "
        f"taken AS ({_take_due(name, until, 'LEAST')}) "
        f"SELECT (SELECT CASE WHEN count(*) < %s THEN {late.sql} WHEN max(lock) <= {sent.sql} THEN max(lock) END "
        f"FROM due)::text, taken.*{'' if connection.in_atomic_block else LIGHTLY} "
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
    """`UPDATE … RETURNING`, if there is something: an UPDATE without rows locks SQLite's database, too."""
    name, limit = connection.ops.quote_name(table.model._meta.db_table), min(limit, MAX_WRITTEN_ROWS)
    now, until = moment(connection), moment(connection, seconds)
    due = f"SELECT id FROM {name} WHERE key = %s AND lock <= {now.sql} ORDER BY lock, id LIMIT %s"
    statement = f"WITH due AS ({due}) {_take_due(name, until, 'MIN')}"
    with connection.cursor() as cursor:
        if cursor.execute(due, [key, *now.params, 1]).fetchone() is None:
            return []
        cursor.execute(statement, [key, *now.params, limit, *until.params, f"{nonce}:"])
        return [Claim.of(lease, payload) for _id, lease, payload in sorted(cursor.fetchall())]


def _take_due(name: str, until: RawSQL, least: str) -> str:
    """`UPDATE … RETURNING` of the rows that are `due`; after those of *until*, its parameter is a nonce and a colon.

    *least* is the database's function for the smallest of several values.
    """
    found = f"COALESCE(CAST(SUBSTR(lease, {NONCE_CHARACTERS + 2}, 4) AS INTEGER), {NONE_YET - 1})"
    count = f"{least}({found} + 1, {MAX_COUNT})"
    return (
        f"UPDATE {name} SET lock = {until.sql}, lease = %s || ({count}) || ':' || id "
        f"WHERE id IN (SELECT id FROM due) RETURNING id, lease, payload"
    )


def _in_one_transaction(
    table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, key: str, limit: int, offers: Offers, nonce: str
) -> list[Claim]:
    """`SELECT … FOR UPDATE SKIP LOCKED` where there is that, then a conditional `UPDATE`.

    On an SQLite without `RETURNING` each statement is a transaction: one that has only read may not write any more.
    """
    features = connection.features
    limit = min(limit, MAX_CLAIMED_ROWS if features.has_select_for_update else MAX_WRITTEN_ROWS)
    found_count = Coalesce(Cast(Substr("lease", NONCE_CHARACTERS + 2, 4), IntegerField()), NONE_YET - 1)
    count = Least(found_count + 1, MAX_COUNT)
    lease = Concat(Value(f"{nonce}:"), Cast(count, CharField()), Value(":"), Cast("id", CharField()))
    due = table.filter(is_named("key", key), offers.is_due())
    with claiming(connection) if features.has_select_for_update else nullcontext():
        first = due.order_by(offers.order, "id")
        if features.has_select_for_update_skip_locked and features.supports_select_for_update_with_limit:
            first = first.select_for_update(skip_locked=True)
        seen = first.values_list("id", "payload", "lease")[:limit]
        if features.has_select_for_update_skip_locked and not features.supports_select_for_update_with_limit:
            ids = [row[0] for row in seen]  # Oracle
            seen = due.filter(id__in=ids).select_for_update(skip_locked=True).values_list("id", "payload", "lease")
        found = {row[0]: row for row in seen}
        if not found:
            return []
        taken = due.filter(id__in=found).update(lease=lease, **offers.leased())
        if taken < len(found):
            won = set(table.filter(id__in=found, lease__startswith=nonce).values_list("id", flat=True))
            found = {number: row for number, row in found.items() if number in won}
    return [Claim.of(f"{nonce}:{after(lease)}:{number}", payload) for number, payload, lease in found.values()]


def after(lease: str | None) -> int:
    """Return the count of the lease that follows another on the same row."""
    if not lease:
        return NONE_YET
    return min(int(lease[NONCE_CHARACTERS + 1 : NONCE_CHARACTERS + 5]) + 1, MAX_COUNT)
