"""Locks of MariaDB, at each isolation level that a project may choose."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.utils import timezone
from django_q.brokers import FAIR_FETCHES
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_orm import errors
from django_q_orm.broker import ORM
from django_q_orm.claims import row_of
from django_q_orm.models import OrmQ

from tests.databases import ask, reachable
from tests.services import MariaDB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEVELS = ["read committed", "repeatable read"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def aliases(mariadb_alias: str, level: str, django_db_blocker) -> Iterator[tuple[str, str]]:
    """Two sessions with the level, which wait one second for a lock."""
    options = {"charset": "utf8mb4", "isolation_level": level, "init_command": "SET innodb_lock_wait_timeout = 1"}
    known = connections[mariadb_alias].settings_dict | {"OPTIONS": options}
    with django_db_blocker.unblock(), reachable("one", known), reachable("two", known):
        yield "one", "two"
        OrmQ.objects.using("two").all().delete()


def queue(alias: str, name: str = "test") -> ORM:
    return ORM(name, settings=ClusterSettings.from_mapping({"orm": alias, "bulk": 100}))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the pauses before conflicting calls are repeated."""
    found: list[float] = []
    monkeypatch.setattr(errors.random, "uniform", lambda *limits: found.append(limits[1]) or 0)
    return found


def claimed(broker: ORM, limit: int = 1) -> list[str]:
    return [str(delivery.ack_id) for delivery in broker.dequeue_many(limit, 0)]


CALLS: dict[str, Callable[[ORM], object]] = {
    "enqueue": lambda broker: broker.enqueue("another"),
    "enqueue_many": lambda broker: broker.enqueue_many(["another"] * 3),
    "enqueue with a priority": lambda broker: broker.enqueue("another", priority=1),
    "dequeue_many of several priorities": lambda broker: (broker.enqueue("low", priority=-1), claimed(broker, 9)),
    "dequeue_many": lambda broker: broker.dequeue_many(9, 0),
    "dequeue_many of an empty queue": lambda broker: queue(broker.alias, "empty").dequeue_many(9, 0),
    "acknowledge_many": lambda broker: broker.acknowledge_many(claimed(broker, 9)),
    "acknowledge": lambda broker: broker.acknowledge_many(claimed(broker)),
    "acknowledge what is gone": lambda broker: broker.acknowledge_many(["0123456789abcdef:1000:999999"]),
    "renew": lambda broker: broker.renew(claimed(broker, 9)),
    "release_many": lambda broker: broker.release_many(claimed(broker, 9)),
    "release_many later": lambda broker: broker.release_many(claimed(broker, 9), 60),
    "expire": lambda broker: broker.expire(claimed(broker)[0]),
    "fail": lambda broker: broker.fail(claimed(broker)[0]),
    "requeue_dead": lambda broker: (broker.fail(claimed(broker)[0]), broker.requeue_dead()),
    "purge_queue": lambda broker: broker.purge_queue(),
    "delete_queue": lambda broker: broker.delete_queue(),
    "set_stat": lambda broker: broker.set_stat("key", "value", 5),
}


@pytest.mark.parametrize("call", list(CALLS))
def test_no_call_waits_for_a_sender_in_a_long_transaction(aliases, pauses, call: str):
    sender, broker = queue(aliases[0]), queue(aliases[1])
    broker.enqueue_many(["package"] * 9)
    with transaction.atomic(using=aliases[0]):
        sender.enqueue("sent")
        sender.enqueue_many(["sent"] * 2, priority=1)
        for _ in range(2):
            CALLS[call](broker)
        sender.enqueue("sent")
    assert pauses == []
    assert list(OrmQ.objects.using(aliases[1]).values_list("payload", flat=True)).count("sent") == 4


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_no_sender_waits_for_a_claim_that_is_not_committed(aliases, pauses, rows: int):
    sender, broker = queue(aliases[0]), queue(aliases[1])
    if rows:
        broker.enqueue_many([str(number) for number in range(rows)])

    def send_after(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if sql.startswith("UPDATE") or "FOR UPDATE" in sql:
            sender.enqueue("sent")
            sender.enqueue_many(["sent"] * 2)
        return result

    with connections[aliases[1]].execute_wrapper(send_after):
        assert len(broker.dequeue_many(rows or 1, 0)) == rows
    assert pauses == []


def test_claims_at_the_same_time_take_no_row_twice(aliases, pauses):
    first, second = queue(aliases[0]), queue(aliases[1])
    first.enqueue_many([str(number) for number in range(10)])
    taken = []

    def claim_before(execute, sql, params, many, context):
        if sql.startswith("UPDATE"):
            taken.extend(second.dequeue_many(4, 0))
        return execute(sql, params, many, context)

    with connections[aliases[0]].execute_wrapper(claim_before):
        taken += first.dequeue_many(4, 0)
    assert pauses == []
    packages = sorted(str(each.package) for each in taken + second.dequeue_many(10, 0))
    assert packages == [str(number) for number in range(10)]


@pytest.mark.parametrize("level", ["repeatable read"], indirect=True)
def test_transaction_of_the_project_keeps_its_level(aliases):
    sender, broker = queue(aliases[0]), queue(aliases[1])
    broker.enqueue_many(["package"] * 2)
    assert broker.dequeue_many(1, 0)
    with transaction.atomic(using=aliases[1]):
        assert broker.queue_size() == 1
        sender.enqueue("package")
        assert broker.queue_size() == 1  # as when the transaction began
        assert broker.dequeue_many(1, 0)
        sender.enqueue("package")
    assert broker.queue_size() == 2


@pytest.mark.parametrize("level", ["repeatable read"], indirect=True)
def test_server_that_logs_statements_is_claimed_from(aliases):
    class Logging(MariaDB):
        def command(self) -> list[str]:
            log = [f"--log-bin={self.folder / 'log'}", "--binlog-format=STATEMENT"]
            return [each for each in super().command() if each != "--skip-log-bin"] + log

    with closing(Logging()) as server:
        server.start()
        known = server.fresh_database()
        known["OPTIONS"] |= {"isolation_level": "repeatable read"}
        with reachable("logging", known) as alias:
            call_command("migrate", "django_q_orm", database=alias, verbosity=0)
            broker = queue(alias)
            broker.enqueue_many(["package"] * 3)
            assert broker.acknowledge_many(claimed(broker, 2)) == []
            assert broker.queue_size() == 1


# real conflicts


@pytest.mark.parametrize("level", ["repeatable read"], indirect=True)
def test_lock_timeout_is_repeated_on_the_same_session(aliases, monkeypatch):
    holder, connection = connections[aliases[0]], connections[aliases[1]]
    broker, ends = queue(aliases[1]), []
    broker.enqueue("package")
    leases, session = claimed(broker), ask(connection, "SELECT connection_id()")
    holder.set_autocommit(False)
    OrmQ.objects.using(aliases[0]).select_for_update().get()

    def end(*_limits: float) -> float:
        ends.append(holder.rollback())
        return 0

    monkeypatch.setattr(errors.random, "uniform", end)
    assert broker.acknowledge_many(leases) == []
    assert len(ends) == 1
    assert ask(connection, "SELECT connection_id()") == session


@pytest.mark.parametrize("level", ["repeatable read"], indirect=True)
def test_deadlock_is_repeated_on_the_same_session(aliases, pauses):
    """Make the server abort the transaction of the broker, because the other one has changed more rows."""
    holder, connection = connections[aliases[0]], connections[aliases[1]]
    broker = queue(aliases[1])
    broker.enqueue_many(["package"] * 2)
    leases, session = sorted(claimed(broker, 2), key=row_of), ask(connection, "SELECT connection_id()")
    ask(connection, "SET innodb_lock_wait_timeout = 50")
    holder.set_autocommit(False)
    queue(aliases[0], "many").enqueue_many(["package"] * 50)
    lock = "UPDATE django_q_ormq SET payload = 'locked' WHERE id = {}"
    first, second = (lock.format(row_of(lease)) for lease in leases)
    ask(holder, second)

    def lock_the_other() -> None:
        try:
            waits = f"SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = {session}"
            eventually(lambda: ask(watcher, f"{waits} AND trx_state = 'LOCK WAIT'"))
            ask(holder, first)
        finally:
            holder.rollback()

    watcher = holder.copy()
    with closing(watcher), ThreadPoolExecutor(1) as pool:
        holder.inc_thread_sharing()
        watcher.inc_thread_sharing()
        other = pool.submit(lock_the_other)
        assert broker.acknowledge_many(leases) == []
        other.result()
    assert pauses
    assert ask(connection, "SELECT connection_id()") == session


def work(alias: str, number: int) -> list[str]:
    """Send, claim and settle until the queue is empty, in a separate session."""
    broker, done = queue(alias), []
    try:
        for each in range(10):
            broker.enqueue(f"{number} {each}")
            deliveries = broker.dequeue_many(3, 0)
            broker.renew([delivery.ack_id for delivery in deliveries])
            assert broker.acknowledge_many([delivery.ack_id for delivery in deliveries]) == []
            done += [str(delivery.package) for delivery in deliveries]
        while deliveries := broker.dequeue_many(3, 0):
            assert broker.acknowledge_many([delivery.ack_id for delivery in deliveries]) == []
            done += [str(delivery.package) for delivery in deliveries]
    finally:
        connections[alias].close()
    return done


def test_concurrent_claims_take_each_row_once(aliases):
    with transaction.atomic(using=aliases[0]):
        queue(aliases[0], "long").enqueue("of a long transaction")
        with ThreadPoolExecutor(4) as pool:
            done = [package for found in pool.map(work, [aliases[1]] * 4, range(4)) for package in found]
    assert sorted(done) == sorted(f"{number} {each}" for number in range(4) for each in range(10))


# locks that outlast leases


HOLDS = {"table": "LOCK TABLES django_q_ormq WRITE", "rows": "SELECT * FROM django_q_ormq FOR UPDATE"}


@contextmanager
def locked(alias: str, statement: str, seconds: float) -> Iterator[None]:
    """Lock the table or its rows for *seconds*."""
    begun = threading.Event()

    def hold() -> None:
        connection = connections[alias]
        with connection.cursor() as cursor:
            connection.set_autocommit(False)
            cursor.execute(statement)
            begun.set()
            time.sleep(seconds)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(30)
    yield
    thread.join()


@pytest.mark.parametrize(("use_tz", "hold"), [(True, "table"), (True, "rows"), (False, "rows")])
def test_lease_lasts_from_the_end_of_a_lock(
    mariadb_alias: str, settings, django_db_blocker, use_tz: bool, hold: str
) -> None:
    settings.USE_TZ = use_tz
    options = ClusterSettings.from_mapping({"orm": "waiting", "retry": 1})
    known = connections[mariadb_alias].settings_dict | {"TIME_ZONE": None}
    with django_db_blocker.unblock(), reachable("waiting", known):
        holder, other = ORM("locked", settings=options), ORM("locked", settings=options)
        try:
            holder.enqueue_many(["first", "second"])
            (first,) = holder.dequeue_many(1, 0)
            with locked("waiting", HOLDS[hold], 1.5):
                assert holder.renew([first.ack_id]) == []
                assert [delivery.package for delivery in other.dequeue_many(2, 0)] == ["second"]
        finally:
            holder.delete_queue()


@pytest.mark.parametrize("fair", [False, True])
def test_claim_reads_no_delayed_rows_of_a_higher_priority(mariadb_alias: str, fair: bool):
    broker = queue(mariadb_alias)
    lock = timezone.now() + timedelta(minutes=9)
    rows = [OrmQ(key="test", payload="x", lock=lock, due=0, rank=-50) for _ in range(5_000)]
    OrmQ.objects.using(mariadb_alias).bulk_create(rows, batch_size=500)
    ask(connections[mariadb_alias], "ANALYZE TABLE django_q_ormq")
    broker.enqueue_many(["package"] * 2)
    broker.enqueue("low", priority=-1)
    broker.dequeue_many(1, 0)
    broker._fetches = FAIR_FETCHES - 1 if fair else 0
    before = rows_read(mariadb_alias)
    assert len(broker.dequeue_many(2, 0)) == 2
    assert rows_read(mariadb_alias) - before < 500
    broker.delete_queue()


def rows_read(alias: str) -> int:
    """Return the number of rows and index entries that the session has read."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%%'", [])
        return sum(int(value) for name, value in cursor.fetchall() if name != "Handler_read_rnd_deleted")
