"""Converts outcomes to rows without model instances, which would be too slow for thousands per second."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from picklefield.fields import PickledObject

from django_q.models import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_q.wire.outcome import Outcome

PLAIN: Final = ("id", "name", "func", "hook", "args", "kwargs", "result", "group", "cluster", "success")
"""Columns whose values are fields of the outcome."""

ENCODED: Final = ("args", "kwargs", "result")
"""The columns among these with any Python objects, encoded by the worker."""

MOMENTS: Final = ("started", "stopped")
"""Columns with dates, which each database adapts."""

NAMES: Final = (*PLAIN, *MOMENTS, "attempt_count")
"""All columns, in the order of `FIELDS`."""

FIELDS: Final = sorted(Task._meta.concrete_fields, key=lambda field: NAMES.index(field.name))

plain = attrgetter(*PLAIN)


def insert(outcomes: Sequence[Outcome], using: str) -> None:
    """Insert rows, all of them or none."""
    connection = connections[using]
    moment = connection.ops.adapt_datetimefield_value
    rows = [
        (*plain(outcome), moment(outcome.started), moment(outcome.stopped), outcome.attempt) for outcome in outcomes
    ]
    names = ", ".join(connection.ops.quote_name(field.column or field.name) for field in FIELDS)
    into = f"INSERT INTO {connection.ops.quote_name(Task._meta.db_table)} ({names})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # One statement, as in Django's bulk_create: the drivers' executemany is slow (psycopg2), or needs a server
            # with pipelines, which PgBouncer may lack (psycopg).
            columns = [list(column) for column in zip(*rows, strict=True)]
            cursor.execute(f"{into} SELECT * FROM UNNEST({arrays(connection)})", columns)
        else:
            cursor.executemany(f"{into} VALUES ({', '.join(['%s'] * len(FIELDS))})", rows)


def arrays(connection: BaseDatabaseWrapper) -> str:
    """Return placeholders with PostgreSQL's types, without lengths: a cast with a length truncates values silently."""
    types = [(field.db_type(connection) or "text").partition("(")[0] for field in FIELDS]
    return ", ".join(f"(%s)::{kind}[]" for kind in types)


def changes(outcome: Outcome) -> dict[str, Any]:
    """Return the columns that a later outcome of the same task overwrites."""
    columns = {name: getattr(outcome, name) for name in (*PLAIN[1:], *MOMENTS)}
    return columns | {name: encoded(columns[name]) for name in ENCODED}


def encoded(text: str | None) -> PickledObject | None:
    """Mark text as encoded, so that its field does not encode it again."""
    return None if text is None else PickledObject(text)
