"""Every statement is one that Oracle and SQL Server understand, tested without their servers."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from django.db.migrations.state import ProjectState
from django.urls import reverse
from django.utils import timezone
from django_q.brokers import FAIR_FETCHES
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Batch, Schedule, Task
from django_q.results.database import DatabaseResults, write_many
from django_q.results.pruning import Pruner
from django_q.schedules.due import DueSchedules
from django_q.schedules.polling import is_in_code, is_soon_due
from django_q.schedules.synchronising import synchronise
from django_q.settings import ClusterSettings
from django_q.tasks import (
    async_iter,
    async_task,
    count_group,
    delete_group,
    fetch,
    fetch_group,
    result,
    result_group,
    schedule,
)
from django_q.wire.codec import PackageCodec
from django_q.wire.outcome import Outcome, encode
from django_q.workflows.batch_maintenance import BatchMaintenance
from django_q.workflows.batch_rows import insert_batches
from django_q_orm import claims, rank_queries
from django_q_orm.broker import ORM
from django_q_orm.stats import TableStats

from .backends import compiled_for, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = timezone.now()

LEASE = "0123456789abcdef:1000:7"


def outcome(task_id: str, **fields: Any) -> Outcome:
    values = {"name": "task", "func": "math.floor", "hook": None, "group": "group", "cluster": "test"}
    encoded = {"args": encode((1,)), "kwargs": encode({}), "result": encode(1)}
    return Outcome(id=task_id, started=NOW, stopped=NOW, **values | encoded | {"success": True} | fields)


def settings_of(**keys: Any) -> ClusterSettings:
    return ClusterSettings.from_mapping({"name": "test", "orm": "default", "retry": 60} | keys)


@pytest.fixture
def written(everything_there: Any) -> Iterator[list[str]]:
    """Collect the statements of a test, and refuse what its product does not understand."""
    statements: list[str] = everything_there.driver.statements
    yield statements
    assert statements
    assert refused(statements) == []


# statements of our own, and what depends on the features of a database


def test_look_for_due_schedules(written: list[str], product: Any):
    assert not is_soon_due(settings_of(), product.alias, NOW, NOW)
    assert not is_in_code(settings_of(), product.alias)
    product.driver.answers["COUNT("] = [(2,)]
    assert is_soon_due(settings_of(), product.alias, NOW, NOW)


def test_sent_schedule_moves_on(written: list[str], product: Any, broker: ORM):
    schedules = DueSchedules(settings_of(), broker)
    sent = [(Schedule(pk=number, func="math.floor", next_run=NOW), 0) for number in (1, 2)]
    schedules._write(sent)
    with transaction.atomic(using=product.alias):
        schedules._locked([1, 2], NOW)
    assert any("FOR UPDATE" in each or "UPDLOCK" in each for each in written)


def test_results_are_saved_and_revised(written: list[str], product: Any):
    DatabaseResults(settings_of()).save_many([outcome("a"), outcome("b")])
    write_many([outcome("a", success=False), outcome("b")], {"a", "b"}, product.alias)


@pytest.mark.parametrize("save_limit_per", [None, "group", "name", "func"])
def test_results_are_pruned(written: list[str], product: Any, save_limit_per: str | None):
    stopped = timezone.make_naive(NOW) if product.vendor == "oracle" else NOW
    product.driver.answers |= {"ROW_NUMBER": [("a",)], "OFFSET": [(stopped, "a")]}
    Pruner(settings_of(save_limit=1, save_limit_per=save_limit_per)).prune()
    assert any("DELETE FROM" in statement for statement in written)


def test_batch_is_inserted_once(written: list[str], product: Any):
    insert_batches([Batch(id="b", total=2, started=NOW, due=NOW)], product.alias)


@pytest.fixture
def broker(product: Any) -> ORM:
    return ORM("test", settings=settings_of(orm=product.alias))


def test_package_is_sent(written: list[str], product: Any, broker: ORM):
    product.driver.answers["returning_insert"] = [(1, 0, NOW), (2, 0, NOW)]  # id, due, lock
    assert broker.enqueue("package") == 1
    assert broker.enqueue("package", delay=60) == 1
    broker.enqueue_many(["one", "two"])


def test_package_is_claimed(written: list[str], product: Any, broker: ORM):
    product.driver.answers["PAYLOAD"] = [(7, "package", None, 0)]
    (delivery,) = broker.dequeue_many(10_000, 0)
    assert (delivery.package, delivery.attempt) == ("package", 1)
    locking = [each for each in written if "SKIP LOCKED" in each or "READPAST" in each]
    assert len(locking) == 1
    assert not any("FETCH FIRST" in each for each in locking), "Oracle refuses FOR UPDATE with a limit"


def test_package_is_claimed_by_priority(written: list[str], product: Any, broker: ORM, monkeypatch: pytest.MonkeyPatch):
    ranks = rank_queries._ranks
    monkeypatch.setattr(rank_queries, "_ranks", lambda queue: [*islice(ranks(queue), 1), -1, 1])
    product.driver.answers |= {"MIN(": [(7, "package", None, 1)], "PAYLOAD": [(7, "package", None)], "1 AS": [(1,)]}
    broker._fetches = FAIR_FETCHES - 1
    (delivery,) = broker.dequeue_many(10, 0)
    assert (delivery.package, delivery.attempt) == ("package", 1)
    assert any("1 AS" in each for each in written), "a fair fetch looks for the greatest priority"


def test_queue_is_looked_at(written: list[str], product: Any, broker: ORM):
    assert broker.dequeue_many(10, 0.001) == []
    assert broker._seconds_until_due() == float("inf")
    assert (broker.queue_size(), broker.lock_size(), broker.dead_size()) == (0, 0, 0)
    assert broker.ping()


def test_delivery_is_settled(written: list[str], product: Any, broker: ORM):
    broker.acknowledge_many([LEASE])
    broker.renew([LEASE])
    broker.release_many([LEASE])
    broker.release_many([LEASE], delay=5)
    broker.expire(LEASE)
    broker.fail(LEASE)


def test_queue_is_emptied(written: list[str], broker: ORM):
    broker.requeue_dead(5)
    broker.purge_queue()
    broker.delete_queue()


def test_statistics_are_kept(written: list[str], product: Any):
    table = TableStats(product)
    table.set("key", "value", 5)
    table.get("key")
    table.all("key*")


@pytest.mark.parametrize("app", ["django_q", "django_q_orm"])
def test_tables_are_migrated(product: Any, app: str):
    loader = import_module("django.db.migrations.loader").MigrationLoader(None)
    state, statements = ProjectState(), []
    for key in loader.graph.forwards_plan(loader.graph.leaf_nodes(app)[0]):
        migration = loader.graph.nodes[key]
        with product.schema_editor(collect_sql=True, atomic=False) as editor:
            state = migration.apply(state, editor, collect_sql=True)
        statements += editor.collected_sql
    assert any("CREATE TABLE" in statement for statement in statements)
    assert refused(statements) == []


# statements that Django writes: what the other database executes is compiled for the product, too


@pytest.mark.django_db
def test_statements_of_a_cluster(product: Any, admin_client: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claims, "returns_rows", lambda connection: False)
    monkeypatch.setattr("django_q_orm.broker.returns_rows", lambda connection: False)
    with compiled_for(product) as statements:
        run_tasks()
        run_iters()
        run_schedules()
        read_and_delete()
        for model in ("success", "failure", "schedule"):
            assert admin_client.get(reverse(f"admin:django_q_{model}_changelist")).status_code == 200
    for verb in ("SELECT", "INSERT INTO", "UPDATE", "DELETE FROM"):
        assert any(verb in statement for statement in statements)
    assert refused(statements) == []


def work_off(broker: ORM, settings: ClusterSettings) -> None:
    """Do what the processes of a cluster do, until the queue is empty."""
    executor, finisher, codec = Executor(settings), Finisher(settings, broker), PackageCodec.of(settings)
    while deliveries := broker.dequeue_many(10, 0):
        finisher.finish(
            [
                executor.execute(codec.loads(each.package), ack_id=each.ack_id, attempt=each.attempt)
                for each in deliveries
            ]
        )


def run_tasks() -> None:
    settings = settings_of(max_attempts=1, save_limit=2)
    broker = ORM("test", settings=settings)
    for number in range(5):
        async_task("math.floor", number, broker=broker, q_options={"group": "g"})
    async_task("math.floor", "no number", broker=broker)
    work_off(broker, settings)
    for per in (None, "group", "name", "func"):
        Pruner(settings_of(save_limit=1, save_limit_per=per)).prune()


def run_iters() -> None:
    settings = settings_of(max_attempts=1)
    broker = ORM("test", settings=settings)
    done = async_iter("math.floor", [1.5, 2.5], broker=broker)
    async_iter("math.floor", [1.5, "no number"], broker=broker)
    work_off(broker, settings)
    assert result(done) == [1, 2]
    async_iter("math.floor", [1.5, 2.5], broker=broker)
    broker.purge_queue()
    maintenance = BatchMaintenance(settings, broker)
    maintenance.grace_ends_at = NOW
    for days in (15, 30, 60):
        maintenance.maintain(timezone.now() + timedelta(days=days))
    assert not Batch.objects.exists()


def run_schedules() -> None:
    settings = settings_of(schedules=[{"func": "math.floor", "args": [1.5], "schedule_type": "H", "name": "declared"}])
    broker = ORM("test", settings=settings)
    assert synchronise(settings).created == ["declared"]
    assert synchronise(settings_of()).removed == ["declared"]
    schedule("math.floor", 1.5, name="named", schedule_type=Schedule.ONCE, repeats=-1)
    schedule("math.floor", 1.5, schedule_type=Schedule.HOURLY, overlap=False)
    schedule("no.such.function", schedule_type=Schedule.HOURLY)
    this_pass = DueSchedules(settings, broker).run_pass(timezone.now() + timedelta(seconds=1))
    assert (len(this_pass.sent), len(this_pass.broken)) == (2, 1)


def read_and_delete() -> None:
    Task.objects.create(id="a" * 32, name="here", func="math.floor", group="g", started=NOW, stopped=NOW, result=1)
    assert result("a" * 32) == result("here") == 1
    assert fetch("here").func == "math.floor"
    assert len(result_group("g")) == len(fetch_group("g")) == count_group("g")
    assert not count_group("g", failures=True)
    delete_group("g")
    delete_group("g", tasks=True)
