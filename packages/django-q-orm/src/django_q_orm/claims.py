"""Taking rows under a lease, each exactly once, in as few statements as the database allows."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction
from django.db.models import CharField, IntegerField, Value
from django.db.models.functions import Cast, Coalesce, Concat, Substr

from django_q_orm.moments import moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from django_q_orm.models import OrmQ


LIGHTLY = ", set_config('synchronous_commit', 'off', true)"
"""PostgreSQL need not wait for its disk to commit a claim: one that a crash undoes is an expired lease, no loss."""


class Claim(NamedTuple):
    """A row that is ours for a while."""

    lease: str
    """`<nonce>:<lapses>:<id>`, so that a lease names its row and no other lease is called the same."""
    payload: str


def row_of(lease: str) -> int:
    """The id of the row that a lease is on."""
    return int(lease.rpartition(":")[2])


NONCE = 16
"""Letters of a nonce."""

NEVER = 1000
"""How a lease writes that no lease before it lapsed: with four digits, each count is found at the same place."""


def lapses_of(lease: str) -> int:
    """How often its row was leased before in vain."""
    return max(0, int(lease.split(":")[1]) - NEVER)


def given_back(leases: Iterable[str]) -> dict[str | None, list[str]]:
    """What the rows say instead of these leases once they are given back: the next lease counts what these did."""
    found: dict[str | None, list[str]] = {}
    for lease in leases:
        count = lapses_of(lease)
        found.setdefault(f"{'-' * NONCE}:{NEVER + count - 1}:" if count else None, []).append(lease)
    return found


def claim(table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, key: str, limit: int, seconds: float) -> list[Claim]:
    """Lease up to *limit* rows of the queue *key* that are due, the longest due first."""
    nonce = secrets.token_hex(NONCE // 2)
    if connection.vendor == "postgresql" or (connection.vendor == "sqlite" and returns_rows(connection)):
        return _in_one_statement(table, connection, key, limit, seconds, nonce)
    return _in_one_transaction(table, connection, key, limit, seconds, nonce)


def returns_rows(connection: BaseDatabaseWrapper) -> bool:
    """Does `DELETE … RETURNING` work here?"""
    return connection.features.can_return_rows_from_bulk_insert


def _in_one_statement(
    table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, key: str, limit: int, seconds: float, nonce: str
) -> list[Claim]:
    """`UPDATE … RETURNING`."""
    name = connection.ops.quote_name(table.model._meta.db_table)
    skips = connection.features.has_select_for_update_skip_locked
    lightly = connection.vendor == "postgresql" and not connection.in_atomic_block
    now, until = moment(connection), moment(connection, seconds)
    statement = (
        f"WITH due AS {'MATERIALIZED ' if skips else ''}("
        f"SELECT id FROM {name} WHERE key = %s AND lock <= {now.sql} "
        f"ORDER BY lock, id LIMIT %s{' FOR UPDATE SKIP LOCKED' if skips else ''}) "
        f"UPDATE {name} SET lock = {until.sql}, lease = %s || "
        f"(COALESCE(CAST(SUBSTR(lease, {NONCE + 2}, 4) AS INTEGER), {NEVER - 1}) + 1) || ':' || id "
        f"WHERE id IN (SELECT id FROM due) "
        f"RETURNING id, lease, payload{LIGHTLY if lightly else ''}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [key, *now.params, limit, *until.params, f"{nonce}:"])
        return [Claim(lease, payload) for _id, lease, payload, *_ in sorted(cursor.fetchall())]


def _in_one_transaction(
    table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, key: str, limit: int, seconds: float, nonce: str
) -> list[Claim]:
    """`SELECT … FOR UPDATE SKIP LOCKED` where there is that, then a conditional `UPDATE`."""
    skips = connection.features.has_select_for_update_skip_locked
    count = Coalesce(Cast(Substr("lease", NONCE + 2, 4), IntegerField()), NEVER - 1) + 1
    lease = Concat(Value(f"{nonce}:"), Cast(count, CharField()), Value(":"), Cast("id", CharField()))
    due = table.filter(key=key, lock__lte=moment(connection))
    with transaction.atomic(using=connection.alias):
        seen = due.select_for_update(skip_locked=True) if skips else due
        found = {row[0]: row for row in seen.order_by("lock", "id").values_list("id", "payload", "lease")[:limit]}
        if not found:
            return []
        taken = due.filter(id__in=found).update(lock=moment(connection, seconds), lease=lease)
        if taken < len(found):
            won = set(table.filter(id__in=found, lease__startswith=nonce).values_list("id", flat=True))
            found = {number: row for number, row in found.items() if number in won}
    return [Claim(f"{nonce}:{after(lease)}:{number}", payload) for number, payload, lease in found.values()]


def after(lease: str | None) -> int:
    """The count that follows that of a lease which lapsed."""
    return int(lease[NONCE + 1 : NONCE + 5]) + 1 if lease else NEVER
