"""SQL that finds due rows by priority, without reading the delayed rows of any.

The rank of a row is its negative priority. Two probes of the index (key, rank, lock) find out if a queue has other
ranks than 0. If so, a statement probes it once for each rank, and reads the due rows of one rank after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


class Sql(NamedTuple):
    """Part of a statement, with its parameters."""

    text: str
    params: list[Any]


def has_ranks(connection: BaseDatabaseWrapper, table: str, key: str) -> Sql:
    """Return the expression that is 1 if a queue has rows with another rank than 0, otherwise 0. It is standard SQL.

    Databases read one entry of the index for a minimum. For EXISTS, PostgreSQL may read the table.
    """
    name, column, rank = map(connection.ops.quote_name, (table, "key", "rank"))
    below, above = (
        f"(SELECT MIN(other.{rank}) FROM {name} other WHERE other.{column} = %s AND other.{rank} {side} 0)"
        for side in "<>"
    )
    return Sql(f"CASE WHEN {below} IS NOT NULL OR {above} IS NOT NULL THEN 1 ELSE 0 END", [key, key])


MAX_RANKS = 202
"""Maximum number of rows of `ranks`. Without a limit, SQLite expects millions, and first reads the whole queue."""


def ranks_of(name: str, key: str, limit: str = "") -> Sql:
    """Return the recursive table expression `ranks`: all ranks of a queue and 0, in order, and NULL at the end.

    Args:
        name: quoted name of the table.
        key: name of the queue.
        limit: SQL of a limit, which PostgreSQL does not accept.
    """
    found, first = f"SELECT rows.rank FROM {name} AS rows WHERE rows.key = %s", "ORDER BY rows.rank LIMIT 1"
    text = (
        f"ranks (rank) AS (SELECT COALESCE(({found} AND rows.rank < 0 {first}), 0) "
        f"UNION ALL SELECT CASE WHEN ranks.rank < 0 "
        f"THEN COALESCE(({found} AND rows.rank > ranks.rank AND rows.rank < 0 {first}), 0) "
        f"ELSE ({found} AND rows.rank > ranks.rank {first}) END FROM ranks WHERE ranks.rank IS NOT NULL{limit})"
    )
    return Sql(text, [key] * 3)


def due_on_postgres(name: str, key: str, until: Sql, order: str, limit: int, *, fair: bool) -> Sql:
    """Return the table expressions of a claim by priority on PostgreSQL. They lock `due`, in the order of delivery.

    The nested loop over `ranks` is in this order: a lateral query with a limit allows no other plan. An `ORDER BY`
    would lock and sort all due rows.

    Args:
        name: quoted name of the table.
        key: name of the queue.
        until: SQL of the condition that follows `lock <=`.
        order: columns that order the rows of one rank.
        limit: maximum number of rows.
        fair: True to begin with `first`, the oldest row of a lower priority.
    """
    ranks = ranks_of(name, key)
    of_rank = f"SELECT id, lock FROM {name} WHERE key = %s AND rank = ranks.rank AND lock <= {until.text}"
    params = [key, *until.params]
    if not fair:
        rows = f"({of_rank} ORDER BY {order} LIMIT %s FOR UPDATE SKIP LOCKED) AS rows"
        due = f"due AS MATERIALIZED (SELECT rows.id, rows.lock FROM ranks CROSS JOIN LATERAL {rows} LIMIT %s)"
        return Sql(f"{ranks.text}, {due}", [*ranks.params, *params, limit, limit])
    heads = (
        f"heads AS MATERIALIZED (SELECT ranks.rank, head.id, head.lock FROM ranks "
        f"CROSS JOIN LATERAL ({of_rank} ORDER BY {order} LIMIT 1) AS head)"
    )
    lower = "SELECT id, lock FROM heads ORDER BY rank OFFSET 1"
    first = (
        f"first AS MATERIALIZED (SELECT id, lock FROM {name} "
        f"WHERE id = (SELECT id FROM ({lower}) AS lower ORDER BY lock, id LIMIT 1) AND lock <= {until.text} "
        f"FOR UPDATE SKIP LOCKED)"
    )
    other = f"{of_rank} AND id <> COALESCE((SELECT id FROM first), 0) ORDER BY {order} LIMIT %s FOR UPDATE SKIP LOCKED"
    others = f"others AS (SELECT rows.id, rows.lock FROM ranks CROSS JOIN LATERAL ({other}) AS rows)"
    due = "due AS MATERIALIZED (SELECT * FROM first UNION ALL SELECT * FROM others LIMIT %s)"
    return Sql(
        f"{ranks.text}, {heads}, {first}, {others}, {due}",
        [*ranks.params, *params, *until.params, *params, limit, limit],
    )


def heads_on_sqlite(name: str, key: str, now: Sql) -> Sql:
    """Return the query of the oldest due row of each rank, in the order of the ranks: its id and lock."""
    ranks = ranks_of(name, key, f" LIMIT {MAX_RANKS}")
    head = (
        f"SELECT id FROM {name} WHERE key = %s AND rank = ranks.rank AND lock <= {now.text} ORDER BY lock, id LIMIT 1"
    )
    text = f"WITH RECURSIVE {ranks.text} SELECT id, lock FROM ranks CROSS JOIN {name} AS rows ON rows.id = ({head})"
    return Sql(text, [*ranks.params, key, *now.params])


def due_on_sqlite(name: str, key: str, now: Sql, limit: int, *, first: int | None = None) -> Sql:
    """Return the query of the ids of due rows, in the order of delivery.

    The nested loop over `ranks` and the index is in this order: `CROSS JOIN` keeps it
    (https://www.sqlite.org/optoverview.html#manual_control_of_query_plans_using_cross_join). An `ORDER BY` would sort
    all due rows.

    Args:
        name: quoted name of the table.
        key: name of the queue.
        now: SQL of the present.
        limit: maximum number of rows.
        first: id of the row that is the first, if it is still due; None for the order of priorities alone.
    """
    ranks = ranks_of(name, key, f" LIMIT {MAX_RANKS}")
    text = (
        f"SELECT rows.id FROM ranks CROSS JOIN {name} AS rows "
        f"WHERE rows.key = %s AND rows.rank = ranks.rank AND rows.lock <= {now.text}"
    )
    params = [key, *now.params]
    if first is not None:
        text = f"SELECT id FROM {name} WHERE id = %s AND lock <= {now.text} UNION ALL {text} AND rows.id <> %s"
        params = [first, *now.params, *params, first]
    return Sql(f"WITH RECURSIVE {ranks.text} {text} LIMIT %s", [*ranks.params, *params, limit])
