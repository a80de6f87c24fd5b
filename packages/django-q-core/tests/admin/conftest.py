"""Fixtures for the tests of the admin."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.db import OperationalError, connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@pytest.fixture
def unavailable() -> Callable[..., AbstractContextManager[None]]:
    """Return a context manager in which statements on some tables fail as if the server had stopped."""

    @contextmanager
    def refusing(*tables: str, statement: str = "") -> Iterator[None]:
        """Refuse statements that begin with *statement* and contain one of *tables*."""

        def refuse(execute, sql, params, many, context):
            if sql.startswith(statement) and any(table in sql for table in tables):
                raise OperationalError("server closed the connection")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(refuse):
            yield

    return refusing
