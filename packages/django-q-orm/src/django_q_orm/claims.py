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
from django_q_orm.rank_queries import locked_by_priority
from django_q_orm.rank_sql import Sql, due_on_postgres, due_on_sqlite, has_ranks, heads_on_sqlite

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
    ranked: bool = False
    """PostgreSQL: True if the queue has rows with priorities."""


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
    *,
    fair: bool = False,
    since: str | None = None,
    ranked: bool = False,
) -> Claimed:
    """Lease due rows of a queue, by priority, then the longest due first.

    Args:
        table: rows of all queues.
        connection: connection to their database.
        key: name of the queue.
        limit: maximum number of rows.
        seconds: duration of the lease.
        fair: True to begin with the oldest row of a lower priority than the greatest one.
        since: PostgreSQL: `since` of an earlier claim. Only rows that were never leased, from this lock on, are read.
        ranked: PostgreSQL: `ranked` of an earlier claim. It saves a statement if the queue still has priorities.
    """
    nonce = secrets.token_hex(NONCE_CHARACTERS // 2)
    if connection.vendor == "postgresql":
        arguments = table, connection, key, limit, seconds, nonce, since
        claimed = None if ranked else _by_postgres(*arguments)
        return claimed if claimed and not claimed.ranked else _by_postgres(*arguments, by_priority=True, fair=fair)
    due_times = due_times_of(connection, seconds)
    if connection.vendor == "sqlite" and returns_rows(connection) and due_times.order == "lock":
        return Claimed(_in_one_statement(table, connection, key, limit, seconds, nonce, fair))
    return Claimed(_in_one_transaction(table, connection, key, limit, due_times, nonce, fair))


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
    *,
    by_priority: bool = False,
    fair: bool = False,
) -> Claimed:
    """Claim by `UPDATE … RETURNING`, and return the lock from which the next claim may read.

    Unless the claim is by priority, it leases no row of a queue with priorities.

    A sender inserts rows with a lock `retry` seconds ago. Later locks belong to expired leases, delays, and senders
    with a shorter `retry`. If the claim returns *limit* rows and some have later locks, there may be more of these. If
    it returns *limit* rows of a queue with priorities, older ones of a lower priority may wait.
    """
    name = connection.ops.quote_name(table.model._meta.db_table)
    now, sent, late = (moment(connection, each) for each in (0, -seconds, -seconds - OPEN_TRANSACTION_SECONDS))
    until = moment_of_lease(connection, seconds)
    bounds, order = Sql(now.sql, [*now.params]), "lock, id"
    if since is not None:  # in the order of the index alone; otherwise PostgreSQL reads and sorts all waiting rows
        bounds, order = Sql(f"{sent.sql} AND lock >= %s", [*sent.params, since]), "lock"
    if by_priority:
        due = due_on_postgres(name, key, bounds, order, limit, fair=fair)
        uses_ranks = Sql("EXISTS (SELECT 1 FROM ranks WHERE rank <> 0)", [])
    else:
        uses_ranks = has_ranks(connection, table.model._meta.db_table, key)
        rows = (
            f"SELECT id, lock FROM {name} WHERE key = %s AND lock <= {bounds.text} "
            f"AND NOT (SELECT used FROM priorities) ORDER BY {order} LIMIT %s FOR UPDATE SKIP LOCKED"
        )
        due = Sql(f"due AS MATERIALIZED ({rows})", [key, *bounds.params, limit])
    statement = (
        f"WITH RECURSIVE priorities AS MATERIALIZED (SELECT ({uses_ranks.text})::int::bool AS used), {due.text}, "
        f"taken AS ({_take_due(name, until, 'LEAST', '= ANY(ARRAY({}))')}, rank) "
        f"SELECT (SELECT CASE WHEN count(*) < %s THEN {late.sql} "
        f"WHEN max(lock) <= {sent.sql} AND NOT (SELECT used FROM priorities) THEN max(lock) END FROM due)::text, "
        f"(SELECT used FROM priorities), taken.id = {'(SELECT id FROM first)' if fair else 'NULL'}, taken.*"
        f"{'' if connection.in_atomic_block else ASYNCHRONOUS_COMMIT} "
        f"FROM (VALUES (1)) AS one LEFT JOIN taken ON true"
    )
    claimed = [*uses_ranks.params, *due.params, *until.params, f"{nonce}:"]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*claimed, limit, *late.params, *sent.params])
        found = cursor.fetchall()
    rows = [row[2:7] for row in found if row[3] is not None]
    rows.sort(key=lambda row: (not row[0], row[4], row[1]))
    claims = [Claim.of(lease, payload) for _first, _id, lease, payload, _rank in rows]
    return Claimed(claims, found[0][0], found[0][1])


def _in_one_statement(
    table: QuerySet[OrmQ],
    connection: BaseDatabaseWrapper,
    key: str,
    limit: int,
    seconds: float,
    nonce: str,
    fair: bool,
) -> list[Claim]:
    """Claim by `UPDATE … RETURNING`, if a row is due: an UPDATE without rows locks SQLite's database, too."""
    name, limit = connection.ops.quote_name(table.model._meta.db_table), min(limit, MAX_WRITTEN_ROWS)
    present, until = moment(connection), moment_of_lease(connection, seconds)
    now = Sql(present.sql, [*present.params])
    oldest = f"{name} WHERE key = %s AND lock <= {now.text} ORDER BY lock, id LIMIT %s"
    ranked = has_ranks(connection, table.model._meta.db_table, key)
    with connection.cursor() as cursor:
        probe = cursor.execute(f"SELECT {ranked.text} FROM {oldest}", [*ranked.params, key, *now.params, 1]).fetchone()
        if probe is None:
            return []
        first, due = None, Sql(f"SELECT id FROM {oldest}", [key, *now.params, limit])
        if probe[0]:
            heads = cursor.execute(*heads_on_sqlite(name, key, now)).fetchall() if fair else []
            first = min(heads[1:], key=lambda head: (head[1], head[0]), default=(None,))[0]
            due = due_on_sqlite(name, key, now, limit, first=first)
        statement = f"WITH due AS ({due.text}) {_take_due(name, until, 'MIN')}, rank"
        cursor.execute(statement, [*due.params, *until.params, f"{nonce}:"])
        taken = sorted(cursor.fetchall(), key=lambda row: (row[0] != first, row[3], row[0]))
        return [Claim.of(lease, payload) for _id, lease, payload, _rank in taken]


def _take_due(name: str, until: RawSQL, least: str, any_of: str = "IN ({})") -> str:
    """Return the `UPDATE … RETURNING` of the rows in `due`. Its parameters are those of *until*, and `<nonce>:`.

    *least* is the database's function for the smallest of several values. *any_of* compares an id with those of a
    query: with IN, PostgreSQL reads a whole table that was empty when it was analysed.
    """
    found = f"COALESCE(CAST(SUBSTR(lease, {NONCE_CHARACTERS + 2}, 4) AS INTEGER), {ZERO_ATTEMPTS - 1})"
    count = f"{least}({found} + 1, {MAX_ATTEMPTS_MARK})"
    return (
        f"UPDATE {name} SET lock = {until.sql}, lease = %s || ({count}) || ':' || id "
        f"WHERE id {any_of.format('SELECT id FROM due')} RETURNING id, lease, payload"
    )


def _in_one_transaction(
    table: QuerySet[OrmQ],
    connection: BaseDatabaseWrapper,
    key: str,
    limit: int,
    due_times: DueTimes,
    nonce: str,
    fair: bool,
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
    queue = table.filter(is_named("key", key))
    with claiming(connection) if features.has_select_for_update else nullcontext():
        found = {row[0]: row for row in locked_by_priority(queue, key, due_times, limit, fair=fair)}
        if not found:
            return []
        taken = queue.filter(due_times.is_due(), id__in=found).update(lease=lease, **due_times.leased())
        if taken < len(found):
            won = set(table.filter(id__in=found, lease__startswith=nonce).values_list("id", flat=True))
            found = {number: row for number, row in found.items() if number in won}
    return [Claim.of(f"{nonce}:{after(lease)}:{number}", payload) for number, payload, lease in found.values()]


def after(lease: str | None) -> int:
    """Return the count of the next lease after *lease* on the same row."""
    if not lease:
        return ZERO_ATTEMPTS
    return min(int(lease[NONCE_CHARACTERS + 1 : NONCE_CHARACTERS + 5]) + 1, MAX_ATTEMPTS_MARK)
