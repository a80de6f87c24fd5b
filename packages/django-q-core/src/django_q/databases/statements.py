"""Statements written by hand, for what the processes of a cluster do each second.

They leave Django's query machinery alone. A forked process gets its own copy of each page of memory that it uses, and a
query uses megabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model


class Condition(NamedTuple):
    """The part of a statement that follows WHERE."""

    text: str
    """SQL with the names of fields in braces and a `%s` for each value."""
    values: Sequence[Any]

    def __and__(self, other: Condition) -> Condition:
        """Return the condition that is true if both are."""
        return Condition(f"({self.text}) AND ({other.text})", [*self.values, *other.values])


def is_any(model: type[Model], using: str, condition: Condition) -> bool:
    """Return True if a model has such a row. The rows are counted, because not every database knows `LIMIT`."""
    ((number,),) = select(model, using, "COUNT(*)", condition)
    return bool(number)


def select(
    model: type[Model],
    using: str,
    columns: str,
    condition: Condition,
    order: str = "",
    part: slice | None = None,
) -> list[tuple[Any, ...]]:
    """Read rows of a model.

    Args:
        model: the model.
        using: alias of the database.
        columns: SQL with the names of fields in braces, as `order`.
        condition: selects the rows.
        order: their order.
        part: which of them to read, by their numbers; it needs an order.

    Returns:
        The rows, with the values that the driver returns.
    """
    statement = f"SELECT {columns} FROM {{table}} WHERE {condition.text}"
    if order:
        statement += f" ORDER BY {order}"
    if part is not None:
        statement += f" {connections[using].ops.limit_offset_sql(part.start or 0, part.stop)}"
    with connections[using].cursor() as cursor:
        cursor.execute(_named(statement, model, using), condition.values)
        return list(cursor.fetchall())


def delete(model: type[Model], using: str, condition: Condition) -> None:
    """Delete rows of a model in one statement; signals and foreign keys are the caller's business."""
    with connections[using].cursor() as cursor:
        cursor.execute(_named(f"DELETE FROM {{table}} WHERE {condition.text}", model, using), condition.values)


def one_of(field: str, values: Sequence[Any]) -> Condition:
    """Select the rows in which a field has one of some values."""
    return Condition(f"{{{field}}} IN ({', '.join(['%s'] * len(values))})", values)


def _named(statement: str, model: type[Model], using: str) -> str:
    quote = connections[using].ops.quote_name
    columns = {field.attname: quote(str(field.column)) for field in model._meta.concrete_fields}
    return statement.format(table=quote(model._meta.db_table), **columns)
