"""Use of an SQLite file that a site uses, too."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.utils import timezone
from django_q.brokers import FAIR_FETCHES
from django_q.cluster.commands import CommandReader
from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.marks import CommandMarks
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.maintenance import Maintenance
from django_q.models import Batch, BatchMember, Schedule, Task
from django_q.records.maintenance import RecordMaintenance
from django_q.results.database import DatabaseResults
from django_q.results.pruning import Pruner
from django_q.schedules.due import DueSchedules
from django_q.schedules.synchronising import synchronise
from django_q.settings import ClusterSettings
from django_q.tasks import result
from django_q.wire.ids import member_id, new_id
from django_q.wire.outcome import Outcome, encode
from django_q.workflows import batches
from django_q.workflows.batch_maintenance import BatchMaintenance, delete
from django_q.workflows.batches import DELIVERY_SECONDS, BatchResults
from django_q_orm import claims
from django_q_orm.broker import ORM
from django_q_orm.models import OrmQ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'"),
]


@pytest.fixture
def settings() -> ClusterSettings:
    return ClusterSettings.from_mapping({"name": "test", "orm": "default"})


@pytest.fixture
def broker(settings: ClusterSettings) -> ORM:
    return ORM("test", settings=settings)


@contextmanager
def another_writes(wait: float = 0) -> Iterator[sqlite3.Connection]:
    """Hold the write lock of the file in another connection, and return that.

    Args:
        wait: maximum time for which other writes wait, in seconds.
    """
    with (
        connection.cursor() as cursor,
        closing(sqlite3.connect(connection.settings_dict["NAME"], check_same_thread=False)) as other,
    ):
        (before,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        cursor.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
        other.execute("BEGIN IMMEDIATE")
        try:
            yield other
        finally:
            other.rollback()
            cursor.execute(f"PRAGMA busy_timeout = {before}")


@contextmanager
def released_after(seconds: float) -> Iterator[None]:
    """Hold the write lock of the file in another connection for *seconds*. Other writes wait."""
    with another_writes(wait=30) as other:
        timer = threading.Timer(seconds, other.rollback)
        timer.start()
        try:
            yield
        finally:
            timer.join()


@pytest.fixture(params=[True, False], ids=["returning", "before 3.35"])
def returning(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enable or disable `RETURNING` of SQLite."""
    if not request.param:
        monkeypatch.setattr(claims, "returns_rows", lambda connection: False)
        monkeypatch.setattr("django_q_orm.broker.returns_rows", lambda connection: False)


@pytest.fixture
def writes_first() -> Iterator[None]:
    """Make transactions begin with the write lock."""
    before, connection.transaction_mode = connection.transaction_mode, "IMMEDIATE"
    yield
    connection.transaction_mode = before


def test_reading_a_result_does_not_lock_the_file(writes_first: None):
    now = timezone.now()
    Task.objects.create(id="a" * 32, name="über", func="math.floor", started=now, stopped=now, result=1)
    with another_writes():
        assert result("über") == 1
        assert result("a" * 32) == 1


def test_fetch_from_an_empty_queue_does_not_lock_the_file(broker: ORM, returning: None, writes_first: None):
    with another_writes():
        assert broker.dequeue_many(10, 0) == []
        assert broker.dequeue_many(10, 0.05) == []
        assert broker.renew([]) == []


def test_statistics_do_not_lock_the_file(broker: ORM):
    with another_writes():
        broker.set_stat("key", "value", 60)
        assert broker.get_stats("key*") == ["value"]


@pytest.mark.parametrize("save_limit_per", [None, "group"])
def test_scheduler_without_work_does_not_lock_the_file(broker: ORM, save_limit_per: str | None):
    now = timezone.now()
    Schedule.objects.create(func="math.floor", next_run=now + timedelta(days=1))
    Task.objects.create(id="a" * 32, name="task", func="math.floor", started=now, stopped=now, success=True)
    Batch.objects.create(id="b" * 32, total=2, started=now, due=now + timedelta(days=1), queue="test")
    settings = ClusterSettings.from_mapping({"orm": "default", "save_limit_per": save_limit_per})
    batches = BatchMaintenance(settings, broker)
    maintenance = Maintenance(
        "scheduler", settings, ClusterState(1), batches.step, RecordMaintenance(settings, broker).step
    )
    commands = CommandReader("scheduler", SimpleNamespace(marks=CommandMarks(), commands=Channel()))
    with another_writes():
        commands.read()
        synchronise(settings)
        assert DueSchedules(settings, broker).run_pass().sent == []
        maintenance.step()
    assert not maintenance.backoff.failures


# Transactions are short: others wait for the end of each.

MAX_ROWS = 250
"""Maximum number of rows that a transaction writes."""


@contextmanager
def transactions() -> Iterator[list[int]]:
    """Collect the number of rows that each transaction writes."""
    connection.ensure_connection()
    sqlite = connection.connection
    written: list[int] = []
    before = sqlite.total_changes

    def trace(statement: str) -> None:
        nonlocal before
        if not sqlite.in_transaction or statement.startswith("COMMIT"):
            written.append(sqlite.total_changes - before)
            before = sqlite.total_changes

    sqlite.set_trace_callback(trace)
    try:
        yield written
        trace("COMMIT")
    finally:
        sqlite.set_trace_callback(None)


def outcome(task_id: str, **fields: Any) -> Outcome:
    now = timezone.now()
    values = {"name": "task", "func": "math.floor", "hook": None, "group": None, "cluster": "test", "success": True}
    encoded = {"args": encode((1,)), "kwargs": encode({}), "result": encode(1)}
    return Outcome(**{"id": task_id, "started": now, "stopped": now} | values | encoded | fields)


def members(iter_id: str, numbers: range, total: int) -> list[Outcome]:
    return [outcome(member_id(iter_id, number), group=iter_id, iter_count=total) for number in numbers]


def final(_outcome: Outcome) -> bool:
    return True


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("how", ["claim", "renewal"])
def test_lease_lasts_from_the_end_of_a_lock(use_tz: bool, how: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(django_settings, "USE_TZ", use_tz)
    options = ClusterSettings.from_mapping({"orm": "default", "retry": 1})
    holder, other = ORM("test", settings=options), ORM("test", settings=options)
    holder.enqueue_many(["first", "second"])
    held = holder.dequeue_many(1, 0) if how == "renewal" else []
    with released_after(1.5):
        lost = holder.renew([held[0].ack_id]) if held else holder.dequeue_many(1, 0)[1:]
        assert lost == []
        assert [delivery.package for delivery in other.dequeue_many(2, 0)] == ["second"]


def test_many_packages_pass_in_short_transactions(broker: ORM, returning: None):
    packages = [f"package {number}" for number in range(600)]
    found = []
    with transactions() as written:
        assert sorted(ids := broker.enqueue_many(packages)) == ids
        while deliveries := broker.dequeue_many(1000, 0):
            found += deliveries
        assert broker.renew([each.ack_id for each in found]) == []
        assert broker.release_many([each.ack_id for each in found[:300]], delay=60) == []
        assert broker.acknowledge_many([each.ack_id for each in found[300:]]) == []
        broker.purge_queue()
    assert [each.package for each in found] == packages
    assert (broker.queue_size(), broker.lock_size()) == (0, 0)
    assert 100 <= max(written) <= MAX_ROWS


def test_dead_letters_return_in_short_transactions(broker: ORM):
    broker.dead_letters().enqueue_many(["package"] * 600)
    with transactions() as written:
        assert broker.requeue_dead() == 600
    assert max(written) <= MAX_ROWS


def test_outcomes_are_saved_in_short_transactions(settings: ClusterSettings):
    results = DatabaseResults(settings)
    with transactions() as written:
        results.save_many([outcome(new_id()) for _ in range(500)])
    assert Task.objects.count() == 500
    assert max(written) <= MAX_ROWS


def test_outcome_that_is_saved_again_is_alone_in_its_transaction(settings: ClusterSettings):
    ids = sorted(new_id() for _ in range(20))  # an insert in this order fails at its first row
    results, outcomes = DatabaseResults(settings), [outcome(each, success=False) for each in ids]
    results.save_many(outcomes[:10])
    with transactions() as written:
        results.save_many([each._replace(success=True) for each in outcomes])
    assert Task.objects.filter(success=True).count() == 20
    assert max(written) == 1


@pytest.mark.parametrize("save_limit_per", [None, "name"])
def test_successes_are_pruned_in_short_transactions(settings: ClusterSettings, save_limit_per: str | None):
    DatabaseResults(settings).save_many([outcome(new_id()) for _ in range(800)])
    pruner = Pruner(ClusterSettings.from_mapping({"save_limit": 100, "save_limit_per": save_limit_per}))
    with transactions() as written:
        while pruner.prune():
            pass
    assert Task.objects.count() == 100
    assert max(written) <= MAX_ROWS


def test_members_are_saved_and_forgotten_in_short_transactions(settings: ClusterSettings):
    results, iter_id = BatchResults(settings, "test"), new_id()
    with transactions() as written:
        results.save_many(members(iter_id, range(300), 300), final)
    assert [each.id for each in results.take_completed()] == [iter_id]
    assert Task.objects.get(pk=iter_id).result == [1] * 300
    assert not BatchMember.objects.exists()
    assert max(written) <= 110


def test_members_are_collated_while_others_write(settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch):
    results, iter_id = BatchResults(settings, "test"), new_id()
    collate = batches.collate

    def slowly(*args: Any) -> Outcome:
        with another_writes():
            return collate(*args)

    monkeypatch.setattr(batches, "collate", slowly)
    results.save_many(members(iter_id, range(3), 3), final)
    assert Batch.objects.get().completed


def interrupted(results: BatchResults, iter_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save all members of an iter, and fail before the batch is completed."""

    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batches, "collate", die)
        with pytest.raises(KeyboardInterrupt):
            results.save_many(members(iter_id, range(3), 3), final)
    batch = Batch.objects.get()
    assert (batch.done, batch.completed) == (3, None)


def test_batch_of_a_dead_process_is_completed_by_a_redelivery(
    settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
):
    results, iter_id = BatchResults(settings, "test"), new_id()
    interrupted(results, iter_id, monkeypatch)
    results.save_many(members(iter_id, range(2, 3), 3), final)
    assert [each.id for each in results.take_completed()] == [iter_id]
    assert Task.objects.get(pk=iter_id).result == [1, 1, 1]


def test_batch_of_a_dead_process_is_completed_by_maintenance(
    broker: ORM, settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    iter_id = new_id()
    interrupted(BatchResults(settings, "test"), iter_id, monkeypatch)
    BatchMaintenance(settings, broker).maintain(timezone.now() + timedelta(seconds=DELIVERY_SECONDS))
    assert Task.objects.get(pk=iter_id).result == [1, 1, 1]
    assert "lost" not in caplog.text


def test_batch_that_two_processes_fill_at_once_is_completed_once(
    settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
):
    results, other, iter_id = BatchResults(settings, "test"), BatchResults(settings, "test"), new_id()
    failed = members(iter_id, range(1), 2)[0]._replace(success=False)
    results.save_many([failed], final)
    collate = batches.collate

    def meanwhile(*args: Any) -> Outcome:
        monkeypatch.setattr(batches, "collate", collate)
        other.save_many(members(iter_id, range(1), 2), final)  # the failed member succeeds in its second attempt
        return collate(*args)

    monkeypatch.setattr(batches, "collate", meanwhile)
    results.save_many(members(iter_id, range(1, 2), 2), final)
    assert [len(each.take_completed()) for each in (results, other)] == [0, 1]
    assert (Task.objects.get(pk=iter_id).success, Batch.objects.get().done) == (True, 2)


def test_batches_are_deleted_in_short_transactions():
    now = timezone.now()
    batch = Batch.objects.create(id=new_id(), total=600, started=now, due=now)
    BatchMember.objects.bulk_create(
        BatchMember(batch_id=batch.pk, task_id=new_id(), success=False, started=now) for _ in range(600)
    )
    with transactions() as written:
        delete([batch.pk])
    assert not BatchMember.objects.exists()
    assert max(written) <= MAX_ROWS


@pytest.fixture
def schedule() -> Callable[[datetime], Schedule]:
    """Return a function that creates a schedule with missed slots since a time."""
    hourly = {"func": "math.floor", "args": "1.5", "schedule_type": Schedule.HOURLY, "catch_up": True}
    return lambda since: Schedule.objects.create(next_run=since, **hourly)


def test_slots_are_made_up_for_in_short_transactions(
    broker: ORM, settings: ClusterSettings, schedule: Callable[[datetime], Schedule]
):
    for _ in range(8):
        schedule(timezone.now() - timedelta(hours=49, minutes=30))
    schedules = DueSchedules(settings, broker)
    with transactions() as written:
        while schedules.run_pass().more:
            pass
    assert broker.queue_size() == 8 * 50
    assert max(written) <= MAX_ROWS


def test_tasks_of_all_queues_share_a_transaction_of_their_slots(
    broker: ORM, settings: ClusterSettings, schedule: Callable[[datetime], Schedule], monkeypatch: pytest.MonkeyPatch
):
    for _ in range(2):
        schedule(timezone.now() - timedelta(minutes=1))
    Schedule.objects.filter(pk=Schedule.objects.first().pk).update(kwargs="q_options={'broker_name': 'other'}")
    other = ORM("other", settings=settings)
    monkeypatch.setattr("django_q.schedules.due.broker_of", lambda queue: other)
    schedules = DueSchedules(settings, broker)
    with monkeypatch.context() as patch:
        patch.setattr(schedules, "_save", lambda *args: 1 / 0)
        schedules.run_pass()
    assert (broker.queue_size(), other.queue_size()) == (0, 0)
    Schedule.objects.update(retry_at=None)
    assert len(schedules.run_pass().sent) == 2
    assert (broker.queue_size(), other.queue_size()) == (1, 1)


@pytest.mark.parametrize("fair", [False, True])
def test_claim_reads_no_delayed_rows_of_a_higher_priority(broker: ORM, fair: bool):
    lock = timezone.now() + timedelta(minutes=9)
    rows = [OrmQ(key="test", payload="x", lock=lock, due=0, rank=-50) for _ in range(5_000)]
    OrmQ.objects.bulk_create(rows, batch_size=100)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    broker.enqueue_many(["package"] * 2)
    broker.enqueue("low", priority=-1)
    broker.dequeue_many(1, 0)
    broker._fetches = FAIR_FETCHES - 1 if fair else 0
    steps: list[int] = []
    connection.connection.set_progress_handler(lambda: steps.append(1), 1)
    found = broker.dequeue_many(2, 0)
    connection.connection.set_progress_handler(None, 0)
    assert len(found) == 2
    assert len(steps) < 5_000  # instructions of SQLite, of which each row that is read needs several
