"""A row comes in, and rings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q_orm.moments import moment

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet

    from django_q_orm.models import OrmQ


def insert_and_ring(
    table: QuerySet[OrmQ], connection: BaseDatabaseWrapper, channel: str, key: str, payload: str, seconds: float
) -> int:
    """Add a row that was due *seconds* ago and notify who listens, in one statement of PostgreSQL.

    PostgreSQL commits transactions that notify one after another. So a row that finds others waiting is silent: who
    takes those will look again. Within a transaction it always rings: nobody knows when that commits.
    """
    name = connection.ops.quote_name(table.model._meta.db_table)
    then, now = moment(connection, -seconds), moment(connection)
    silent = f"NOT %s AND EXISTS (SELECT 1 FROM {name} WHERE key = %s AND lock <= {now.sql})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH added AS (INSERT INTO {name} (key, payload, lock) VALUES (%s, %s, {then.sql}) RETURNING id) "
            f"SELECT id, CASE WHEN {silent} THEN NULL ELSE pg_notify(%s, '')::text END FROM added",
            [key, payload, *then.params, connection.in_atomic_block, key, *now.params, channel],
        )
        (number, _rang) = cursor.fetchone()
    return int(number)
