"""Creates the records of tasks when they are sent."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from django.db import connections, router, transaction
from django.db.models.constants import OnConflict

from django_q.clock import in_project_time, now
from django_q.databases.statements import Statement
from django_q.exceptions import sent_before
from django_q.models import Record, Status
from django_q.models.labels import stored_label
from django_q.wire.tracking import NewRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_q.brokers import Broker
    from django_q.wire.package import TaskPackage

COLUMNS: Final = (*NewRecord._fields, "status")
"""Columns of a record that is sent."""


def insert_beside(packages: Sequence[TaskPackage], broker: Broker, queue: str, delay: float = 0) -> Statement | None:
    """Return the statement that inserts the record of a task which is sent alone, for `Broker.enqueue_beside`.

    Args:
        packages: the tasks that are sent.
        broker: of the queue.
        queue: name of the cluster that executes the tasks.
        delay: seconds before the earliest execution.

    Returns:
        None for several tasks, for one that is not tracked, and if the queue is in another database.
    """
    if broker.alias is None or len(packages) != 1 or not packages[0].get("track"):
        return None
    connection = connections[router.db_for_write(Record)]
    if broker.alias != connection.alias or not connection.features.supports_ignore_conflicts:
        return None
    return insert_of(NewRecord.of(packages[0], queue), run_after_of(delay), connection)


@contextmanager
def recorded(packages: Sequence[TaskPackage], broker: Broker, queue: str, delay: float = 0) -> Iterator[None]:
    """Return a context manager that queues tasks and creates the records of the tracked ones.

    If the database of the records is also the broker, both are one transaction. Otherwise the records are created
    first, and those of tasks that could not be queued are deleted.

    Args:
        packages: all tasks that are queued in the block, in order.
        broker: of the queue.
        queue: name of the cluster that executes the tasks.
        delay: seconds before the earliest execution.
    """
    tracked = {index: package for index, package in enumerate(packages) if package.get("track")}
    if not tracked:
        yield
        return
    using = router.db_for_write(Record)
    run_after = run_after_of(delay)
    if broker.alias == using:
        with transaction.atomic(using=using):
            record_tracked(packages, queue, run_after)
            yield
        return
    record_tracked(packages, queue, run_after)
    try:
        yield
    except Exception as error:
        sent = sent_before(error)
        delete([package["id"] for index, package in tracked.items() if index not in sent])
        raise


def record_tracked(packages: Sequence[TaskPackage], queue: str, run_after: datetime | None = None) -> None:
    """Create the records of the tracked tasks among packages.

    Args:
        packages: the tasks.
        queue: name of the cluster that executes them, unless they name another.
        run_after: time of their earliest execution; None means now.
    """
    if new := [NewRecord.of(package, queue) for package in packages if package.get("track")]:
        create(new, run_after)


def run_after_of(delay: float) -> datetime | None:
    """Return the time of the earliest execution after a delay in seconds; None if there is no delay."""
    return now() + timedelta(seconds=delay) if delay else None


def create(new: Sequence[NewRecord], run_after: datetime | None = None) -> None:
    """Create the records of tracked tasks. A record that exists stays: a task may be sent twice.

    Args:
        new: the records.
        run_after: time of the earliest execution of the tasks; None means now.
    """
    connection = connections[router.db_for_write(Record)]
    if not connection.features.supports_ignore_conflicts:
        known = Record._base_manager.using(connection.alias).filter(pk__in=[each.id for each in new])
        ids = {*known.values_list("pk", flat=True)}
        new = [each for each in new if each.id not in ids]
    statements = [insert_of(each, run_after, connection) for each in new]
    with connection.cursor() as cursor:
        for sql, same in groupby(statements, attrgetter("sql")):
            rows = [statement.values for statement in same]
            if len(rows) == 1:
                cursor.execute(sql, rows[0])
            else:
                cursor.executemany(sql, rows)


def insert_of(new: NewRecord, run_after: datetime | None, connection: BaseDatabaseWrapper) -> Statement:
    """Return the statement that inserts a record.

    It is raw SQL: `bulk_create` takes two thirds of the time to send a task.

    Args:
        new: the record.
        run_after: time of the earliest execution if the sender gave none.
        connection: to the database.
    """
    in_database = connection.ops.adapt_datetimefield_value
    starts_at = new.run_after or run_after
    values = [
        new.id,
        stored_label(Record, new.name),
        stored_label(Record, new.func),
        new.group and stored_label(Record, new.group),
        stored_label(Record, new.queue),
        new.backend,
        new.priority,
        in_database(in_project_time(new.enqueued_at)),
        new.arguments,
        starts_at and in_database(in_project_time(starts_at)),
        (Status.QUEUED if run_after is None else Status.SCHEDULED).value,
    ]
    return Statement(insert_sql(connection.alias, connection.vendor), values)


@lru_cache(maxsize=64)
def insert_sql(using: str, vendor: str) -> str:
    """Return the SQL that inserts a record with values for `COLUMNS`. The others are empty.

    Args:
        using: alias of the database.
        vendor: of the database.
    """
    features, ops = connections[using].features, connections[using].ops
    on_conflict = OnConflict.IGNORE if features.supports_ignore_conflicts else None
    columns = ", ".join(ops.quote_name(name) for name in ("attempts", *COLUMNS))
    return (
        f"{ops.insert_statement(on_conflict=on_conflict)} {ops.quote_name(Record._meta.db_table)} ({columns}) "
        f"VALUES ('[]', {', '.join(['%s'] * len(COLUMNS))}) "
        f"{ops.on_conflict_suffix_sql(Record._meta.concrete_fields, on_conflict, [], [])}"
    )


def delete(ids: Sequence[str]) -> None:
    """Delete the records of tasks that could not be queued."""
    Record._base_manager.using(router.db_for_write(Record)).filter(pk__in=ids).delete()
