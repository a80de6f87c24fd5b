"""Outcome → row, without a model instance: thousands of them pass each second."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from picklefield.fields import PickledObject

from django_q.models import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django_q.outcome import Outcome

PLAIN: Final = ("id", "name", "func", "hook", "args", "kwargs", "result", "group", "cluster", "success")
"""The columns that take what an outcome says as it is."""

ENCODED: Final = ("args", "kwargs", "result")
"""Of these, the columns that hold anything, encoded by the worker."""

MOMENTS: Final = ("started", "stopped")
"""The columns of which each database has its own idea."""

NAMES: Final = (*PLAIN, *MOMENTS, "attempt_count")
FIELDS: Final = sorted(Task._meta.concrete_fields, key=lambda field: NAMES.index(field.name))
PLACEHOLDERS: Final[Any] = ("%s",) * len(FIELDS)

MOST_LETTERS: Final = 1_000_000
"""How much text one statement carries: servers refuse very long ones (MariaDB above 16 MB)."""

plain = attrgetter(*PLAIN)


def insert(outcomes: Sequence[Outcome], using: str) -> None:
    """Write new rows, in as few statements as the database takes them."""
    connection = connections[using]
    operations = connection.ops
    moment = operations.adapt_datetimefield_value
    rows = [
        (*plain(outcome), moment(outcome.started), moment(outcome.stopped), int(outcome.counted))
        for outcome in outcomes
    ]
    names = ", ".join(operations.quote_name(field.column or field.name) for field in FIELDS)
    into = f"INSERT INTO {operations.quote_name(Task._meta.db_table)} ({names})"
    with connection.cursor() as cursor:
        for some in in_statements(rows, operations.bulk_batch_size(FIELDS, rows)):
            values = operations.bulk_insert_sql(FIELDS, [PLACEHOLDERS] * len(some))
            cursor.execute(f"{into} {values}", list(chain.from_iterable(some)))


def in_statements(rows: Iterable[tuple[Any, ...]], most: int) -> Iterator[list[tuple[Any, ...]]]:
    """Divide rows into statements: at most *most* rows and about a million letters each."""
    some: list[tuple[Any, ...]] = []
    letters = 0
    for row in rows:
        size = sum(len(value) for value in row if isinstance(value, str))
        if some and (len(some) >= most or letters + size > MOST_LETTERS):
            yield some
            some = []
            letters = 0
        some.append(row)
        letters += size
    if some:
        yield some


def changes(outcome: Outcome) -> dict[str, Any]:
    """Give what a later outcome writes over an earlier one of the same task."""
    columns = {name: getattr(outcome, name) for name in (*PLAIN[1:], *MOMENTS)}
    return columns | {name: encoded(columns[name]) for name in ENCODED}


def encoded(text: str | None) -> PickledObject | None:
    """Mark text as encoded, so that its field does not encode it once more."""
    return None if text is None else PickledObject(text)
