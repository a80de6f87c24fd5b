"""Django's back ends for Oracle and SQL Server, without a server: statements are compiled and recorded."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from ctypes.util import find_library
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Self
from unittest.mock import patch

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models.sql.compiler import SQLCompiler, SQLInsertCompiler

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINES = {"oracle": "django.db.backends.oracle", "sqlserver": "mssql"}

VERSIONS = {"oracle_version": (19, 0, 0, 0, 0), "sql_server_version": 2019, "to_azure_sql_db": False}
"""Properties that are otherwise read from the server."""


class Driver(ModuleType):
    """Stands in for pyodbc, which needs a library of the system to be imported."""

    version = "5.0.0"
    Error = type("Error", (Exception,), {})
    DatabaseError = type("DatabaseError", (Error,), {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("SQL_"):
            return name
        if name.endswith("Error"):
            return type(name, (self.DatabaseError,), {})
        raise AttributeError(name)


class Variable:
    """Takes what Oracle's `RETURNING … INTO` returns."""

    def getvalue(self) -> list[int]:
        """Return the id of a new row."""
        return [1]


class Cursor:
    """Answers each statement with nothing, or with the rows that were prepared for it."""

    arraysize = 100
    rowcount = 1
    description = None

    def __init__(self, driver: DriverConnection) -> None:
        self.driver = driver
        self.rows: list[tuple[Any, ...]] = []

    def execute(self, sql: str, *params: Any) -> Cursor:
        """Record a statement."""
        self.driver.statements.append(sql)
        answers = self.driver.answers
        self.rows = next((list(rows) for part, rows in answers.items() if part.lower() in sql.lower()), [])
        return self

    def executemany(self, sql: str, params: Any) -> Cursor:
        """Record a statement; like SQL Server's driver, leave the number of changed rows at that of the last one."""
        self.rowcount = len(list(params)) if self.driver.counts_many else 1
        return self.execute(sql)

    def fetchone(self) -> Any:
        """Return the next row."""
        return self.rows.pop(0) if self.rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        """Return some rows."""
        some, self.rows = self.rows[:size], self.rows[size:]
        return some

    def fetchall(self) -> list[Any]:
        """Return all rows."""
        return self.fetchmany(len(self.rows))

    def nextset(self) -> bool:
        """Return False: there is one answer to a statement."""
        return False

    def var(self, *args: Any, **kwargs: Any) -> Variable:
        """Return a variable."""
        return Variable()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())

    def setinputsizes(self, *args: Any, **kwargs: Any) -> None:
        """Ignore the types of parameters."""

    def close(self) -> None:
        """Close."""


class DriverConnection:
    """Connection of a driver that records its statements."""

    autocommit = True
    counts_many = True
    """True if `rowcount` is the sum after `executemany`."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.answers: dict[str, list[tuple[Any, ...]]] = {"@@TRANCOUNT": [(0,)], "COUNT(": [(0,)], "IDENTITY": [(1,)]}
        """Part of a statement → rows that answer it."""

    def cursor(self) -> Cursor:
        """Return a cursor."""
        return Cursor(self)

    def commit(self) -> None:
        """Commit."""

    def rollback(self) -> None:
        """Roll back."""

    def close(self) -> None:
        """Close."""


@contextmanager
def database(product: str) -> Iterator[Any]:
    """Make a database of a product known to Django, under its name.

    Raises:
        ImproperlyConfigured: its back end or driver is not installed.
    """
    if product == "sqlserver" and find_library("odbc") is None:
        sys.modules.setdefault("pyodbc", Driver("pyodbc"))
    entry = {"ENGINE": ENGINES[product], "NAME": "test", "USER": "test", "PASSWORD": "test"}
    connections.settings[product] = connections.configure_settings({"default": {}, product: entry})[product]
    try:
        wrapper: Any = connections[product]
        driver = DriverConnection()
        vars(wrapper).update(VERSIONS, driver=driver)
        driver.counts_many = product != "sqlserver"
        wrapper.get_new_connection = lambda params: driver
        wrapper.init_connection_state = lambda: None
        if product == "oracle":  # asks the server for them
            wrapper.operators, wrapper.pattern_ops = wrapper._standard_operators, wrapper._standard_pattern_ops
        yield wrapper
        del connections[product]
    finally:
        del connections.settings[product]


NOT_PORTABLE: Final = re.compile(
    r"\bLIMIT\b|\bRETURNING\b(?!.*\bINTO\b)|ON CONFLICT|\bON DUPLICATE\b|::|\bINTERVAL\b|\bPRAGMA\b|\bILIKE\b|\bTRUE\b",
    re.IGNORECASE | re.DOTALL,
)
"""Syntax that neither Oracle nor SQL Server supports."""


def refused(statements: list[str]) -> list[str]:
    """Return the statements that a product does not understand."""
    return [statement for statement in statements if NOT_PORTABLE.search(statement)]


@contextmanager
def compiled_for(wrapper: Any) -> Iterator[list[str]]:
    """Compile each statement of Django's that another database executes within this block for *wrapper*, too."""
    statements: list[str] = []

    def too(execute: Any) -> Any:
        def execute_sql(compiler: Any, *args: Any, **kwargs: Any) -> Any:
            if compiler.connection is not wrapper:
                statements.extend(compile_again(compiler, wrapper))
            return execute(compiler, *args, **kwargs)

        return execute_sql

    with (
        patch.object(SQLCompiler, "execute_sql", too(SQLCompiler.execute_sql)),
        patch.object(SQLInsertCompiler, "execute_sql", too(SQLInsertCompiler.execute_sql)),
    ):
        yield statements


def compile_again(compiler: Any, wrapper: Any) -> Iterator[str]:
    """Compile a statement for another database."""
    other = compiler.query.clone().get_compiler(connection=wrapper)
    if isinstance(compiler, SQLInsertCompiler):
        other.returning_fields = compiler.returning_fields
    try:
        compiled = other.as_sql()
    except EmptyResultSet:
        return
    for sql, _params in compiled if isinstance(compiled, list) else [compiled]:
        yield sql
