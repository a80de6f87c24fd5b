"""Outcome → row, without a model instance: thousands of them pass each second."""

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
"""The columns that take what an outcome says as it is."""

ENCODED: Final = ("args", "kwargs", "result")
"""Of these, the columns that hold anything, encoded by the worker."""

MOMENTS: Final = ("started", "stopped")
"""The columns of which each database has its own idea."""

NAMES: Final = (*PLAIN, *MOMENTS, "attempt_count")
FIELDS: Final = sorted(Task._meta.concrete_fields, key=lambda field: NAMES.index(field.name))

plain = attrgetter(*PLAIN)


def insert(outcomes: Sequence[Outcome], using: str) -> None:
    """Write new rows, all of them or none."""
    connection = connections[using]
    moment = connection.ops.adapt_datetimefield_value
    rows = [
        (*plain(outcome), moment(outcome.started), moment(outcome.stopped), outcome.attempt) for outcome in outcomes
    ]
    names = ", ".join(connection.ops.quote_name(field.column or field.name) for field in FIELDS)
    into = f"INSERT INTO {connection.ops.quote_name(Task._meta.db_table)} ({names})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # One statement, as Django's bulk_create does: its drivers' executemany is slow (psycopg2) or needs a
            # server that understands pipelines (psycopg, behind PgBouncer).
            columns = [list(column) for column in zip(*rows, strict=True)]
            cursor.execute(f"{into} SELECT * FROM UNNEST({arrays(connection)})", columns)
        else:
            cursor.executemany(f"{into} VALUES ({', '.join(['%s'] * len(FIELDS))})", rows)


def arrays(connection: BaseDatabaseWrapper) -> str:
    """Give the placeholders of PostgreSQL's columns, without their lengths: casting would cut a value silently."""
    types = [(field.db_type(connection) or "text").partition("(")[0] for field in FIELDS]
    return ", ".join(f"(%s)::{kind}[]" for kind in types)


def changes(outcome: Outcome) -> dict[str, Any]:
    """Give what a later outcome writes over an earlier one of the same task."""
    columns = {name: getattr(outcome, name) for name in (*PLAIN[1:], *MOMENTS)}
    return columns | {name: encoded(columns[name]) for name in ENCODED}


def encoded(text: str | None) -> PickledObject | None:
    """Mark text as encoded, so that its field does not encode it once more."""
    return None if text is None else PickledObject(text)
