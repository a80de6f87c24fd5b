"""Writes rows of `Task`: in raw SQL, because model instances would be too slow for thousands per second.

For projects with receivers of `pre_save` or `post_save` of `Task`, it saves each row with the model.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.models.signals import post_save, pre_save
from picklefield.fields import PickledObject

from django_q.models import Task
from django_q.models.fields import Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_q.wire.outcome import Outcome

PLAIN_COLUMNS: Final = ("id", "name", "func", "hook", "args", "kwargs", "result", "group", "cluster", "success")
"""Columns whose values are fields of the outcome."""

ENCODED_COLUMNS: Final = ("args", "kwargs", "result")
"""The columns among these with any Python objects, encoded by the worker."""

DATE_COLUMNS: Final = ("started", "stopped")
"""Columns with dates, which each database adapts."""

COLUMN_NAMES: Final = (*PLAIN_COLUMNS, *DATE_COLUMNS, "attempt_count")
"""All columns, in the order of `FIELDS`."""

FIELDS: Final = sorted(Task._meta.concrete_fields, key=lambda field: COLUMN_NAMES.index(field.name))

plain = attrgetter(*PLAIN_COLUMNS)


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
    columns = {name: getattr(outcome, name) for name in (*PLAIN_COLUMNS[1:], *DATE_COLUMNS)}
    return columns | {name: encoded(columns[name]) for name in ENCODED_COLUMNS}


def encoded(text: str | None) -> PickledObject | None:
    """Mark text as encoded, so that its field does not encode it again."""
    return None if text is None else PickledObject(text)


# with receivers


def has_receivers() -> bool:
    """Return True if the project has receivers that require the model to save each `Task`.

    As in the public editions, the sender is `Task`: receivers of its proxies `Success` and `Failure` are not called.
    """
    return pre_save.has_listeners(Task) or post_save.has_listeners(Task)


def write_with_receivers(outcomes: Sequence[Outcome], known: set[str], using: str) -> None:
    """Save outcomes like `write_many`, but with the model.

    Args:
        outcomes: to save.
        known: ignored; each row is read.
        using: alias of the database.
    """
    for outcome in outcomes:
        save(outcome, using)


def save(outcome: Outcome, using: str) -> None:
    """Save one outcome within a transaction. If only the number of attempts changes, receivers are not called."""
    rows = Task._base_manager.using(using).filter(pk=outcome.id)
    if connections[using].features.has_select_for_update:
        rows = rows.select_for_update()
    task = rows.defer(*ENCODED_COLUMNS).first()
    if task is None:
        task = Task(id=outcome.id, attempt_count=outcome.attempt)
        fill(task, outcome)
        task.save(using=using, force_insert=True)
        return
    attempts = max(task.attempt_count, outcome.attempt)
    if task.success or (not outcome.success and task.stopped >= outcome.stopped):
        rows.update(attempt_count=attempts)
        return
    task.attempt_count = attempts
    fill(task, outcome)
    task.save(using=using, force_update=True)


def fill(task: Task, outcome: Outcome) -> None:
    """Set the columns of a task. Pickled values are unpickled only if a receiver reads them."""
    for name in (*PLAIN_COLUMNS, *DATE_COLUMNS):
        value = getattr(outcome, name)
        setattr(task, name, Encoded(value) if name in ENCODED_COLUMNS and value is not None else value)
