from __future__ import annotations

import os
import sqlite3
import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.brokers import FAIR_FETCHES
from django_q.checks import check_installation
from django_q.databases.statements import Statement
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.models import Batch
from django_q.settings import ClusterSettings
from django_q.tasks import async_iter
from django_q.testing import eventually
from django_q_orm import claims, inserts
from django_q_orm.broker import ORM
from django_q_orm.models import OrmQ

pytestmark = pytest.mark.django_db(transaction=True)


def broker_for(**settings: object) -> ORM:
    return ORM("test", settings=ClusterSettings.from_mapping({"orm": "default", "bulk": 10, **settings}))


@pytest.fixture
def broker() -> ORM:
    return broker_for()


def test_package_of_a_transaction_that_commits_exists(broker: ORM):
    with transaction.atomic():
        broker.enqueue("package")
    assert broker.queue_size() == 1


def test_package_of_a_failed_transaction_does_not_exist(broker: ORM):
    with transaction.atomic():
        broker.enqueue("one")
        broker.enqueue_many(["two", "three"])
        transaction.set_rollback(True)
    assert broker.queue_size() == 0


def statement_for(name: str) -> Statement:
    column = connection.ops.quote_name("key")
    return Statement(f"INSERT INTO django_q_ormq ({column}, payload, lease) VALUES (%s, '', '')", [name])


@pytest.mark.parametrize("options", [{}, {"delay": 60}, {"priority": 5}])
def test_statement_is_executed_beside_a_package(broker: ORM, options: dict[str, float]):
    number = broker.enqueue_beside(statement_for("beside"), "package", **options)
    assert OrmQ.objects.filter(key="beside").count() == OrmQ.objects.filter(key="test").count() == 1
    assert OrmQ.objects.get(key="test").pk == number
    assert [each.package for each in broker.dequeue_many(9, 0)] == ([] if "delay" in options else ["package"])


@pytest.mark.parametrize("options", [{}, {"delay": 60}])
def test_failed_statement_queues_no_package(broker: ORM, options: dict[str, float]):
    with pytest.raises(BrokerError):
        broker.enqueue_beside(Statement("INSERT INTO django_q_ormq (id) VALUES (%s)", ["x"]), "package", **options)
    assert broker.queue_size() == 0


@pytest.mark.parametrize("options", [{}, {"delay": 60}])
def test_failed_package_executes_no_statement(broker: ORM, monkeypatch: pytest.MonkeyPatch, options: dict[str, float]):
    def insert_into(*_row: object) -> None:
        raise DatabaseError("refused")

    monkeypatch.setattr(inserts, "_insert_into", insert_into)
    with pytest.raises(BrokerError):
        broker.enqueue_beside(statement_for("beside"), "package", **options)
    assert OrmQ.objects.count() == 0


@pytest.mark.parametrize("rolled_back", [True, False])
def test_batch_of_an_iter_shares_the_transaction_of_its_members(broker: ORM, rolled_back: bool):
    with transaction.atomic():
        async_iter("math.floor", [1.5, 2.5], broker=broker)
        assert (Batch.objects.count(), broker.queue_size()) == (1, 2)
        transaction.set_rollback(rolled_back)
    assert (Batch.objects.count(), broker.queue_size()) == ((0, 0) if rolled_back else (1, 2))


def test_row_is_due_for_clusters_of_other_versions(broker: ORM):
    broker.enqueue("package")
    # django-q fetches rows with a lock `retry` seconds ago, django-q2 those with a lock in the past.
    assert OrmQ.objects.filter(lock__lte=timezone.now() - timedelta(seconds=59)).count() == 1


def test_row_that_another_version_added_is_taken(broker: ORM):
    OrmQ.objects.create(key="test", payload="package", lock=timezone.now() - timedelta(seconds=1))
    assert broker.dequeue_many(1, 1)[0].package == "package"


def test_row_that_another_version_added_has_priority_0(broker: ORM):
    broker.enqueue("low", priority=-1)
    with connection.cursor() as cursor:
        key, lock = map(connection.ops.quote_name, ("key", "lock"))
        statement = f"INSERT INTO django_q_ormq ({key}, payload, {lock}) VALUES ('test', 'old', %s)"
        cursor.execute(statement, [connection.ops.adapt_datetimefield_value(timezone.now())])
    broker.enqueue("high", priority=1)
    assert [each.package for each in broker.dequeue_many(3, 1)] == ["high", "old", "low"]


def test_row_that_another_version_leased_is_left(broker: ORM):
    OrmQ.objects.create(key="test", payload="package", lock=timezone.now() + timedelta(seconds=60))
    assert broker.dequeue_many(1, 0.1) == []


def test_row_without_lock_is_left(broker: ORM):
    OrmQ.objects.create(key="test", payload="package", lock=None)
    assert broker.dequeue_many(1, 0.1) == []
    assert broker.queue_size() == 0


def test_fetch_returns_at_most_bulk():
    broker = broker_for(bulk=2)
    broker.enqueue_many(["one", "two", "three"])
    assert len(broker.dequeue_many(10, 1)) == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs two statements elsewhere")
def test_fetch_is_one_statement(broker: ORM):
    broker.enqueue("zero")
    broker.dequeue_many(1, 1)  # the first fetch of a process checks for a change of USE_TZ
    broker.enqueue_many(["one", "two"])
    with CaptureQueriesContext(connection) as queries:
        broker.dequeue_many(2, 1)
    assert len(queries) == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="needs two statements elsewhere")
@pytest.mark.parametrize("priority", [0, 1])
def test_each_of_many_fetches_is_one_statement(broker: ORM, priority: int):
    broker.enqueue("zero", priority=priority)
    broker.dequeue_many(1, 1)
    broker.enqueue_many(["package"] * FAIR_FETCHES, priority=priority)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(FAIR_FETCHES):
            assert broker.dequeue_many(1, 1)
    assert len(queries) == FAIR_FETCHES


def test_fair_fetch_fills_the_batch_by_priority(broker: ORM):
    for priority in (5, -1, 7, 0, 7, -2):
        broker.enqueue(f"{priority}", priority=priority)
    broker._fetches = FAIR_FETCHES - 1
    assert [each.package for each in broker.dequeue_many(5, 0)] == ["5", "7", "7", "0", "-1"]


def test_requeued_dead_letter_keeps_its_priority(broker: ORM):
    broker.enqueue("high", priority=1)
    broker.move_to_dead_letters(broker.dequeue_many(1, 1)[0])
    broker.enqueue("normal")
    broker.requeue_dead()
    assert [each.package for each in broker.dequeue_many(2, 1)] == ["high", "normal"]


def test_many_are_acknowledged_in_one_statement(broker: ORM):
    broker.enqueue_many(["one", "two", "three"])
    ids = [delivery.ack_id for delivery in broker.dequeue_many(3, 1)]
    with CaptureQueriesContext(connection) as queries:
        broker.acknowledge_many(ids)
    assert len([each for each in queries if each["sql"] not in ("BEGIN", "COMMIT")]) == 1


def test_many_are_renewed_in_one_statement(broker: ORM):
    broker.enqueue_many(["one", "two", "three"])
    ids = [delivery.ack_id for delivery in broker.dequeue_many(3, 1)]
    with CaptureQueriesContext(connection) as queries:
        broker.renew(ids)
    assert len(queries) == 1


def test_idle_broker_polls_every_poll_seconds():
    broker = broker_for(poll=0.5)
    broker.dequeue_many(1, 1.5)
    with CaptureQueriesContext(connection) as queries:
        broker.dequeue_many(1, 2)
    assert len(queries) <= 5


def test_calls_open_no_connections(broker: ORM):
    broker.ping()
    opened: list[object] = []
    listener = lambda **_arguments: opened.append(1)  # noqa: E731
    connection_created.connect(listener)
    try:
        for _ in range(5):
            broker.enqueue("package")
            broker.acknowledge(broker.dequeue_many(1, 1)[0].ack_id)
    finally:
        connection_created.disconnect(listener)
    assert opened == []


class Replica:
    """A router that chooses another database for all models."""

    def db_for_read(self, model: object, **hints: object) -> str:
        return "replica"

    db_for_write = db_for_read


def test_broker_ignores_routers(broker: ORM, settings):
    settings.DATABASE_ROUTERS = [Replica()]
    broker.enqueue_many(["one", "two", "three"])
    broker.enqueue("later", delay=60)
    one, two, three = broker.dequeue_many(3, 1)
    assert (
        broker.renew([one.ack_id]) == broker.release_many([one.ack_id]) == broker.acknowledge_many([two.ack_id]) == []
    )
    broker.fail(three.ack_id)
    assert (broker.queue_size(), broker.lock_size(), broker.dead_size()) == (1, 0, 1)
    assert broker.requeue_dead() == 1
    broker.set_stat("key", "value", 60)
    assert (broker.get_stat("key"), broker.get_stats("k*")) == ("value", ["value"])
    broker.purge_queue()
    broker.delete_queue()
    assert broker.ping()


def test_failed_package_that_waits_is_not_leased_and_is_purged(broker: ORM):
    broker.enqueue_many(["failed", "leased"])
    failed, leased = broker.dequeue_many(2, 1)
    broker.release(failed.ack_id, delay=60)
    assert (broker.queue_size(), broker.lock_size()) == (0, 1)
    broker.purge_queue()
    assert [row.payload for row in OrmQ.objects.all()] == ["leased"]
    assert broker.acknowledge(leased.ack_id)


@pytest.mark.parametrize("release", ["release", "expire"])
def test_released_package_precedes_all_waiting_ones(broker: ORM, release: str):
    broker.enqueue_many(["one", "two", "three"])
    OrmQ.objects.update(lock=timezone.now() - timedelta(days=3650))
    [delivery] = broker.dequeue_many(1, 1)
    getattr(broker, release)(delivery.ack_id)
    assert broker.dequeue_many(1, 1)[0].package == delivery.package


def test_expired_lease_cannot_dead_letter(broker: ORM):
    broker.enqueue("package")
    [delivery] = broker.dequeue_many(1, 1)
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))
    broker.move_to_dead_letters(delivery)
    assert (broker.queue_size(), broker.dead_size()) == (1, 0)
    [delivery] = broker.dequeue_many(1, 1)
    broker.move_to_dead_letters(delivery)
    assert (broker.queue_size(), broker.dead_size()) == (0, 1)


def test_lost_leases_are_reported_in_their_order(broker: ORM):
    broker.enqueue_many(["first", "retried", "third"])
    once = [str(each.ack_id) for each in broker.dequeue_many(3, 0)]
    broker.expire(once[1])
    again = str(broker.dequeue_many(1, 0)[0].ack_id)
    leases = [once[0], again, once[2]]
    broker.acknowledge_many(leases)
    assert broker.release_many(leases) == leases


def test_row_of_a_public_edition_is_attempt_1(broker: ORM):
    OrmQ.objects.create(key="test", payload="package", lock=timezone.now() - timedelta(days=1))
    assert broker.dequeue_many(1, 1)[0].attempt == 1


def test_number_of_attempts_has_a_largest_value(broker: ORM):
    broker.enqueue("package")
    broker.dequeue_many(1, 1)
    lease = f"{'0' * claims.NONCE_CHARACTERS}:{claims.MAX_ATTEMPTS_MARK - 1}:{OrmQ.objects.get().pk}"
    OrmQ.objects.update(lease=lease)
    attempts = []
    for _ in range(3):
        broker.expire(OrmQ.objects.get().lease)
        attempts.append(broker.dequeue_many(1, 1)[0].attempt)
    last = claims.MAX_ATTEMPTS_MARK - claims.ZERO_ATTEMPTS + 1
    assert attempts == [last, last, last]
    broker.release(OrmQ.objects.get().lease, delay=0.01)
    assert eventually(lambda: broker.dequeue_many(1, 1))[0].attempt == last


def test_missing_table_has_a_hint(broker: ORM, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(OrmQ._meta, "db_table", "nowhere")
    with pytest.raises(BrokerError, match="nowhere"):
        broker.enqueue("package")
    connection.close()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="others have many writers")
def test_sender_waits_for_the_writer(broker: ORM, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.05)
    connection.close()
    writer = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, writer.rollback)
    timer.start()
    broker.enqueue("package")
    timer.join()
    assert broker.queue_size() == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="others commit beside readers")
def test_commit_beside_a_reader_is_repeated_as_a_whole(broker: ORM, monkeypatch: pytest.MonkeyPatch):
    """Without WAL, SQLite cannot commit before the readers have ended."""
    tries: list[str] = []

    def execute(run, sql: str, *context: object):
        tries.append(sql)
        return run(sql, *context)

    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.05)
    connection.close()
    reader = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    reader.execute("PRAGMA journal_mode = DELETE")
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM django_q_ormq").fetchone()
    timer = threading.Timer(0.5, reader.rollback)
    timer.start()
    with connection.execute_wrapper(execute):
        broker.enqueue_beside(statement_for("beside"), "package")
    timer.join()
    assert len(tries) > 2  # one of each is not repeated
    assert OrmQ.objects.filter(key="beside").count() == broker.queue_size() == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="others have many writers")
def test_sender_waits_for_a_limited_time(broker: ORM, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inserts, "WRITE_LOCK_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.05)
    connection.close()
    writer = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(BrokerUnavailable, match="locked"):
        broker.enqueue("package")
    writer.rollback()


def test_processes_claim_each_row_once(broker: ORM):
    broker.enqueue_many([f"package {number}" for number in range(100)])
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            _claim_all_and_exit()
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    found = list(OrmQ.objects.filter(key="found").values_list("payload", flat=True))
    assert sorted(found) == sorted(f"package {number}" for number in range(100))


def _claim_all_and_exit() -> None:
    try:
        mine = broker_for(bulk=3)
        while taken := mine.dequeue_many(3, 0):
            for delivery in taken:
                OrmQ.objects.create(key="found", payload=delivery.package)
            assert mine.acknowledge_many([delivery.ack_id for delivery in taken]) == []
    except BaseException as error:  # noqa: BLE001 - a child that raises would continue the tests of the parent
        print(repr(error))
        os._exit(1)
    os._exit(0)


class TestWithoutReturning:
    """On a database without `RETURNING`."""

    @pytest.fixture(autouse=True)
    def returns_nothing(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(connection.features.__class__, "can_return_rows_from_bulk_insert", False)
        monkeypatch.setattr(claims, "_in_one_statement", claims._in_one_transaction)

    def test_rows_are_taken_once(self, broker: ORM):
        for number in range(10):
            broker.enqueue(f"package {number}")
        first, second = broker.dequeue_many(6, 1), broker_for().dequeue_many(6, 1)
        assert [delivery.package for delivery in first + second] == [f"package {number}" for number in range(10)]

    def test_rows_are_taken_by_priority(self, broker: ORM):
        for priority in (5, -1, 7, 0, 7, -2):
            broker.enqueue(f"{priority}", priority=priority)
        broker._fetches = FAIR_FETCHES - 1
        assert [each.package for each in broker.dequeue_many(3, 1)] == ["5", "7", "7"]
        assert [each.package for each in broker.dequeue_many(3, 1)] == ["0", "-1", "-2"]

    def test_lost_lease_cannot_acknowledge(self):
        hasty, other = broker_for(retry=0.2), broker_for()
        hasty.enqueue("package")
        (lost,) = hasty.dequeue_many(1, 1)
        (theirs,) = eventually(lambda: other.dequeue_many(1, 0.1))
        assert hasty.acknowledge(lost.ack_id) is False
        assert other.acknowledge(theirs.ack_id) is True


def test_dead_letters_of_the_longest_name_fit(broker: ORM):
    broker.list_key = "n" * 95
    broker.enqueue("package")
    broker.move_to_dead_letters(broker.dequeue_many(1, 1)[0])
    assert (ORM.name_problem(broker.list_key), broker.dead_size()) == (None, 1)


@pytest.mark.parametrize("length", [96, 100, 101])
def test_check_rejects_a_name_whose_dead_letters_do_not_fit(settings, length: int):
    settings.Q_CLUSTER = {"name": "n" * length, "orm": "default"}
    found = [each for each in check_installation(None) if each.id == "django_q.E010"]
    assert ["95 characters" in each.msg for each in found] == [True]


def test_dead_letters_added_meanwhile_are_not_requeued_again(broker: ORM):
    broker.enqueue_many(["unreadable"] * 3)
    for delivery in broker.dequeue_many(3, 0):
        broker.move_to_dead_letters(delivery)
    moved = []

    def move_at_once(execute, sql, params, many, context):
        done = execute(sql, params, many, context)
        if sql.startswith("UPDATE") and len(moved) < 10:
            moved.append(sql)
            OrmQ.objects.filter(key=broker.list_key).update(key=broker.dead_key)
        return done

    with connection.execute_wrapper(move_at_once):
        assert broker.requeue_dead() == 3
