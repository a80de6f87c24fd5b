"""Compares names in databases exactly.

MySQL and MariaDB compare text without regard to case, and some of their collations ignore spaces at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import F, Q, Value
from django.db.models.lookups import Exact

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler


class ExactName(Exact):
    """Comparison of a text column with a name, byte by byte."""

    def as_mysql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any) -> tuple[str, tuple[Any, ...]]:
        """Compare with the collation of the column, which uses its index, and then the bytes."""
        sql, params = self.as_sql(compiler, connection)
        column, column_params = self.process_lhs(compiler, connection)
        name, name_params = self.process_rhs(compiler, connection)
        both = f"({sql} AND {_bytes(column)} = {_bytes(name)})"
        return both, (*params, *column_params, *name_params)


def is_named(column: str, name: str) -> Q:
    """Return the condition that a column has exactly this name.

    Args:
        column: name of a text field.
        name: value of the column.
    """
    return Q(ExactName(F(column), Value(name)))


def _bytes(text: str) -> str:
    """Return SQL for the UTF-8 bytes of a text, for columns of any character set."""
    return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)"
