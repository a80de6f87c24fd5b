"""Starts and outcomes of attempts in records, in any order and any number of times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext
from django_q.databases import limits
from django_q.execution.outcome_builder import OutcomeBuilder
from django_q.models import Record, Status
from django_q.records import writing
from django_q.records.cancelling import cancel_task
from django_q.records.creating import create
from django_q.records.writing import RecordWriter
from django_q.settings import ClusterSettings
from django_q.wire.package import new_package
from django_q.wire.tracking import Attempted, NewRecord, Started

pytestmark = pytest.mark.django_db

SETTINGS = ClusterSettings(name="own", retry=60)
BEGAN = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def writer():
    return RecordWriter(SETTINGS)


@pytest.fixture
def package():
    package = new_package("math.floor", (1.5,), track=True)
    create([NewRecord.of(package, "own")])
    return package


def started(package, attempt: int = 1) -> Started:
    return Started(package["id"], attempt, "worker", BEGAN + timedelta(seconds=10 * attempt))


def outcome(package, attempt: int = 1, *, success: bool = True, result: object = 1, **more: object):
    stopped = BEGAN + timedelta(seconds=10 * attempt + 5)
    finished = {**package, "result": result, "success": success, "stopped": stopped}
    attempted = Attempted("worker", started(package, attempt).moment)
    if not success:
        attempted = attempted._replace(exception_class="builtins.KeyError", traceback="text")
    built = OutcomeBuilder(SETTINGS).build(finished, attempt=attempt, duration=5.0)
    return built._replace(attempted=attempted, **more)


def write(writer, *starts_and_outcomes: object, final: bool = True) -> Record:
    starts = [each for each in starts_and_outcomes if isinstance(each, Started)]
    outcomes = [each for each in starts_and_outcomes if not isinstance(each, Started)]
    writer.write(starts, outcomes, lambda _: final)
    return Record.objects.get()


def test_start_is_running_until_its_outcome(writer, package) -> None:
    record = write(writer, started(package))
    assert (record.status, record.attempt_count) == ("running", 1)
    assert record.lease_ends_at > record.started_at
    record = write(writer, outcome(package))
    assert (record.status, record.return_value, record.lease_ends_at) == ("succeeded", 1, None)
    assert record.finished_at - record.started_at == timedelta(seconds=5)


@pytest.mark.parametrize("is_running", [False, True])
def test_first_success_is_written_without_a_read(writer, package, is_running) -> None:
    if is_running:
        write(writer, started(package))
    with CaptureQueriesContext(connection) as queries:
        writer.write([], [outcome(package)], lambda _: True)
    (statement,) = [query["sql"] for query in queries if "django_q_record" in query["sql"]]
    assert statement.startswith("1 times: UPDATE ")
    assert Record.objects.get().status == "succeeded"


@pytest.mark.parametrize("before", [[], [1], [2], [1, 2]])
def test_first_success_is_written_alike_with_a_read(writer, package, monkeypatch, before) -> None:
    starts = [started(package, number) for number in before]
    unchanged = Record.objects.get()
    direct = write(writer, *starts) and write(writer, outcome(package))
    unchanged.save()
    monkeypatch.setattr(writing, "end_unread", lambda *_: False)
    read = write(writer, *starts) and write(writer, outcome(package))
    for field in Record._meta.concrete_fields:
        assert getattr(direct, field.attname) == getattr(read, field.attname)


def test_first_success_keeps_an_attempt_without_a_start(writer, package) -> None:
    lost = outcome(package, 1, success=False)._replace(attempted=Attempted(None, None, "x.Y", "text"))
    write(writer, lost, final=False)
    write(writer, started(package, 2))
    record = write(writer, outcome(package))
    assert [each["number"] for each in record.attempts] == [1, 2]


def test_late_start_changes_no_outcome(writer, package) -> None:
    before = write(writer, outcome(package))
    record = write(writer, started(package))
    assert (record.status, record.attempts) == (before.status, before.attempts)


def test_repeated_update_changes_nothing(writer, package) -> None:
    first = write(writer, outcome(package, success=False), final=False)
    again = write(writer, outcome(package, success=False), final=False)
    assert (again.status, again.attempts) == (first.status, first.attempts) == ("retrying", first.attempts)


def test_each_attempt_is_kept_in_order(writer, package) -> None:
    write(writer, outcome(package, 2, success=False), final=False)
    record = write(writer, outcome(package, 1, success=False), outcome(package, 3))
    assert [(each["number"], each["exception_class"]) for each in record.attempts] == [
        (1, "builtins.KeyError"),
        (2, "builtins.KeyError"),
        (3, None),
    ]
    assert (record.status, record.last_attempted_at) == ("succeeded", started(package, 3).moment)


def test_next_attempt_ends_a_lost_one(writer, package) -> None:
    write(writer, started(package))
    record = write(writer, started(package, 2))
    assert [each["exception_class"] for each in record.attempts] == ["django_q.exceptions.WorkerDied", None]
    assert record.status == "running"


def test_failure_does_not_replace_a_success(writer, package) -> None:
    write(writer, outcome(package))
    record = write(writer, outcome(package, 2, success=False))
    assert (record.status, record.return_value) == ("succeeded", 1)


def test_success_replaces_a_cancellation(writer, package) -> None:
    cancel_task(package["id"])
    assert write(writer, started(package)).status == "cancelled"
    assert write(writer, outcome(package, success=False), final=False).status == "cancelled"
    assert write(writer, outcome(package)).status == "succeeded"


def test_unstarted_cancelled_task_has_no_attempt(writer, package) -> None:
    cancelled = outcome(package, success=False, cancelled=True)._replace(attempted=Attempted(None, None))
    record = write(writer, cancelled)
    assert (record.status, record.attempts) == ("cancelled", [])


def test_update_waits_for_its_record(writer, monkeypatch) -> None:
    package = new_package("math.floor", (1.5,), track=True)
    writer.write([], [outcome(package)], lambda _: True)
    assert len(writer.missing) == 1
    create([NewRecord.of(package, "own")])
    writer.write_missing()
    assert (Record.objects.get().status, writer.missing) == ("succeeded", [])


def test_update_without_a_record_is_dropped_at_last(writer, monkeypatch) -> None:
    monkeypatch.setattr(writing, "MISSING_SECONDS", 0.0)
    writer.write([], [outcome(new_package("math.floor", track=True))], lambda _: True)
    writer.write_missing()
    assert writer.missing == []


def test_result_too_large_for_a_statement_is_not_kept(writer, package, monkeypatch) -> None:
    monkeypatch.setattr(limits, "longest_statement", lambda connection: 16_000_000)
    record = write(writer, outcome(package, result="x" * 20_000_000))
    assert (record.status, record.result) == ("succeeded", None)


def test_only_running_tasks_are_extended(writer, package) -> None:
    first = write(writer, started(package)).lease_ends_at
    writer.extend([package["id"]])
    assert Record.objects.get().lease_ends_at > first
    write(writer, outcome(package))
    writer.extend([package["id"]])
    assert Record.objects.get().lease_ends_at is None


def test_status_of_a_failure_depends_on_what_follows(writer, package) -> None:
    assert write(writer, outcome(package, success=False), final=False).status == Status.RETRYING
    assert write(writer, outcome(package, 2, success=False), final=True).status == Status.FAILED


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has one writer")
@pytest.mark.django_db(transaction=True)
def test_sqlite_transactions_are_short_and_begin_with_a_write(writer) -> None:
    packages = [new_package("math.floor", track=True) for _ in range(250)]
    create([NewRecord.of(each, "own") for each in packages])
    with CaptureQueriesContext(connection) as queries:
        writer.write([], [outcome(each) for each in packages], lambda _: True)
    statements = [query["sql"] for query in queries.captured_queries]
    begins = [number for number, sql in enumerate(statements) if sql.startswith("BEGIN")]
    assert len(begins) == 3
    assert [statements[number + 1].partition("UPDATE ")[0] for number in begins] == [
        "100 times: ",
        "100 times: ",
        "50 times: ",
    ]


@pytest.mark.parametrize("kind", [started, outcome])
def test_rejected_record_affects_no_other(writer, monkeypatch, caplog, kind) -> None:
    packages = [new_package("math.floor", (1.5,), track=True) for _ in range(3)]
    create([NewRecord.of(package, "own") for package in packages])
    rejected = packages[1]["id"]
    for name in ("update_rows", "end_unread"):
        write_all = getattr(writing, name)

        def rejecting(rows, using: str, write_all=write_all) -> bool | None:
            written = write_all(rows, using)
            if any(row.id == rejected for row in rows):
                raise DataError("invalid value")
            return written

        monkeypatch.setattr(writing, name, rejecting)
    starts = [kind(package) for package in packages]
    writer.write(*(([], starts) if kind is outcome else (starts, [])), lambda _: True)
    changed = Record.objects.exclude(status=Status.QUEUED)
    assert set(changed.values_list("pk", flat=True)) == {packages[0]["id"], packages[2]["id"]}
    (logged,) = caplog.records
    assert rejected in logged.getMessage()
    assert logged.django_q_event == "result.record_not_written"
