"""Executes statements in raw SQL, for the regular steps of a cluster's processes.

Django's query compiler uses megabytes of memory, which become copy-on-write copies in a forked process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model

T = TypeVar("T")

MAX_STATEMENT_IDS: Final = 500
"""Maximum number of ids in one statement."""


class Statement(NamedTuple):
    """SQL with its values."""

    sql: str
    """SQL with a `%s` for each value."""
    values: Sequence[Any]
    """Values of the placeholders, in order."""

    def execute(self, connection: BaseDatabaseWrapper) -> None:
        """Execute the statement."""
        with connection.cursor() as cursor:
            cursor.execute(self.sql, self.values)


class Condition(NamedTuple):
    """Condition of a statement: the part that follows WHERE."""

    text: str
    """SQL with the names of fields in braces and a `%s` for each value."""
    values: Sequence[Any]
    """Values of the placeholders, in order."""

    def __and__(self, other: Condition) -> Condition:
        """Return the conjunction of two conditions."""
        return Condition(f"({self.text}) AND ({other.text})", [*self.values, *other.values])


def is_any(model: type[Model], using: str, condition: Condition) -> bool:
    """Return True if a model has a row that meets a condition. Rows are counted: not all databases have `LIMIT`.

    Args:
        model: the model.
        using: alias of the database.
        condition: the condition.
    """
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
        columns: SQL of the columns, with the names of fields in braces.
        condition: condition of the rows.
        order: SQL of their order, in the same form as `columns`; empty for any order.
        part: positions of the rows to read, which needs an order; None for all.

    Returns:
        The rows, with the values that the driver returns.
    """
    statement = f"SELECT {columns} FROM {{table}} WHERE {condition.text}"
    if order:
        statement += f" ORDER BY {order}"
    if part is not None:
        statement += f" {connections[using].ops.limit_offset_sql(part.start or 0, part.stop)}"
    with connections[using].cursor() as cursor:
        cursor.execute(quoted(statement, model, using), condition.values)
        return list(cursor.fetchall())


def delete(model: type[Model], using: str, condition: Condition) -> None:
    """Delete rows of a model in one statement, without signals and without regard to foreign keys.

    Args:
        model: the model.
        using: alias of the database.
        condition: condition of the rows.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(quoted(f"DELETE FROM {{table}} WHERE {condition.text}", model, using), condition.values)


def execute(model: type[Model], using: str, statement: str, values: Sequence[Any]) -> int:
    """Execute a statement that changes rows of a model. Return their number.

    Args:
        model: the model.
        using: alias of the database.
        statement: SQL with the names of fields and `table` in braces, and a `%s` for each value.
        values: values of the placeholders, in order.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(quoted(statement, model, using), values)
        return int(cursor.rowcount)


def execute_many(model: type[Model], using: str, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Execute a statement once for each row of values. Return the number of rows that it has changed in all.

    Args:
        model: the model.
        using: alias of the database.
        statement: as of `execute`.
        rows: values of the placeholders, in order.
    """
    with connections[using].cursor() as cursor:
        cursor.executemany(quoted(statement, model, using), rows)
        return int(cursor.rowcount)


def chunks(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split ids into parts that fit into a statement."""
    return (ids[start : start + MAX_STATEMENT_IDS] for start in range(0, len(ids), MAX_STATEMENT_IDS))


def one_of(field: str, values: Sequence[Any]) -> Condition:
    """Return the condition that a field has one of several values."""
    return Condition(f"{{{field}}} IN ({', '.join(['%s'] * len(values))})", values)


def quoted(statement: str, model: type[Model], using: str) -> str:
    """Replace the names in braces, of fields and `table`, by the quoted names in the database."""
    quote = connections[using].ops.quote_name
    columns = {field.attname: quote(str(field.column)) for field in model._meta.concrete_fields}
    return statement.format(table=quote(model._meta.db_table), **columns)
