"""Creates the records of tasks when they are sent."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, router, transaction
from django.db.models.constants import OnConflict

from django_q.clock import in_project_time, now
from django_q.exceptions import sent_before
from django_q.models import Record, Status
from django_q.models.labels import stored_label
from django_q.wire.tracking import NewRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from django_q.brokers import Broker
    from django_q.wire.package import TaskPackage

LABELS: Final = ("name", "func", "group", "queue")
"""Columns with texts of the project."""


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
    run_after = now() + timedelta(seconds=delay) if delay else None
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


def create(new: Sequence[NewRecord], run_after: datetime | None = None) -> None:
    """Create the records of tracked tasks. A record that exists stays: a task may be sent twice.

    Args:
        new: the records.
        run_after: time of the earliest execution of the tasks; None means now.
    """
    using = router.db_for_write(Record)
    status = Status.QUEUED if run_after is None else Status.SCHEDULED
    rows = [Record(**columns(each, run_after), status=status) for each in new]
    if not connections[using].features.supports_ignore_conflicts:
        known = Record._base_manager.using(using).filter(pk__in=[row.pk for row in rows])
        ids = {*known.values_list("pk", flat=True)}
        rows = [row for row in rows if row.pk not in ids]
    insert(rows, using)


def insert(rows: Sequence[Record], using: str) -> None:
    """Insert records, in raw SQL: `bulk_create` takes two thirds of the time in which a task is sent."""
    connection = connections[using]
    fields, ops = Record._meta.concrete_fields, connection.ops
    on_conflict = OnConflict.IGNORE if connection.features.supports_ignore_conflicts else None
    names = ", ".join(ops.quote_name(str(field.column)) for field in fields)
    statement = (
        f"{ops.insert_statement(on_conflict=on_conflict)} {ops.quote_name(Record._meta.db_table)} ({names}) "
        f"VALUES ({', '.join(['%s'] * len(fields))}) {ops.on_conflict_suffix_sql(fields, on_conflict, [], [])}"
    )
    values = [[field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields] for row in rows]
    with connection.cursor() as cursor:
        if len(values) == 1:
            cursor.execute(statement, values[0])
        elif values:
            cursor.executemany(statement, values)


def columns(new: NewRecord, run_after: datetime | None = None) -> dict[str, Any]:
    """Return the columns of a new record, in the form in which the database stores them.

    Args:
        new: the record.
        run_after: time of the earliest execution if the sender gave none.
    """
    run_after = new.run_after or run_after
    labels = {name: stored_label(Record, label) for name in LABELS if (label := getattr(new, name))}
    times = {"enqueued_at": in_project_time(new.enqueued_at), "run_after": run_after and in_project_time(run_after)}
    return {**new._asdict(), **labels, **times}


def delete(ids: Sequence[str]) -> None:
    """Delete the records of tasks that could not be queued."""
    Record._base_manager.using(router.db_for_write(Record)).filter(pk__in=ids).delete()
