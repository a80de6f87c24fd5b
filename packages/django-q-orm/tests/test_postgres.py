"""Features of PostgreSQL only."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.brokers import FAIR_FETCHES
from django_q.databases.statements import Statement
from django_q.exceptions import BrokerUnavailable
from django_q.pacing import Throttle
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_orm import broker as broker_module
from django_q_orm import notify
from django_q_orm.broker import ORM
from django_q_orm.models import OrmQ
from django_q_orm.notify import channel_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services import Postgres


def broker_for(**settings: object) -> ORM:
    return ORM("test", settings=ClusterSettings.from_mapping({"bulk": 10, **settings}))


@pytest.fixture
def alias(postgres_alias: str) -> str:
    return postgres_alias


@pytest.fixture
def broker(alias: str):
    broker = broker_for(orm=alias)
    yield broker
    broker.delete_queue()


def test_dates_of_many_are_not_in_local_time(broker: ORM, alias: str, settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/Chicago"
    with CaptureQueriesContext(connections[alias]) as queries:
        broker.enqueue_many(["first", "second"])
    (insert,) = [each["sql"] for each in queries if each["sql"].startswith("INSERT")]
    assert insert.count("+00:00") == 2
    assert [each.package for each in broker.dequeue_many(9, 0)] == ["first", "second"]


def test_statement_beside_a_package_is_one_round_trip(broker: ORM, alias: str):
    beside = Statement("INSERT INTO django_q_ormq (key, payload, lease) VALUES (%s, '', '')", ["beside"])
    with CaptureQueriesContext(connections[alias]) as queries:
        broker.enqueue_beside(beside, "package")
    assert len(queries) == 1
    assert OrmQ.objects.using(alias).filter(key="beside").delete()[0] == broker.queue_size() == 1


def test_row_notifies(broker: ORM, alias: str):
    broker.dequeue_many(1, 2.5)
    sent = later(alias, lambda: broker_for(orm=alias).enqueue("package"))
    assert broker.dequeue_many(1, 5)
    assert time.monotonic() - sent[0] < 0.4


def test_row_of_a_transaction_notifies_at_the_commit(broker: ORM, alias: str):
    broker.dequeue_many(1, 2.5)

    def send() -> None:
        with transaction.atomic(alias):
            broker_for(orm=alias).enqueue("package")
            time.sleep(0.7)
            sent.append(time.monotonic())

    sent: list[float] = []
    later(alias, send)
    assert broker.dequeue_many(1, 5)
    assert time.monotonic() - sent[0] < 0.4


def test_row_notifies_unless_the_last_one_waits(broker: ORM, alias: str):
    consumer, session = notify.Listener("test", 1), connections[alias]
    consumer.wait(session, 0)  # begins to listen
    notified = []
    for _ in range(2):
        broker.enqueue("package")
        notified.append(consumer.wait(session, 0.5))
    assert len(broker.dequeue_many(9, 0)) == 2
    broker.enqueue("package")
    notified.append(consumer.wait(session, 0.5))
    assert notified == [True, False, True]


def test_row_after_a_rolled_back_one_notifies(broker: ORM, alias: str):
    consumer, session = notify.Listener("test", 1), connections[alias]
    consumer.wait(session, 0)
    with transaction.atomic(alias):
        broker.enqueue("nothing")
        transaction.set_rollback(True, alias)
    broker.enqueue("package")
    assert consumer.wait(session, 0.5)


def test_waiting_row_is_looked_for_once_in_a_while(broker: ORM, alias: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notify, "QUIET_SECONDS", 60)
    with CaptureQueriesContext(connections[alias]) as queries:
        for _ in range(5):
            broker.enqueue("package")
    assert ["NOT EXISTS" in each["sql"] for each in queries] == [False, True, False, False, False]
    assert ["pg_notify" in each["sql"] for each in queries] == [True, True, False, False, False]


def test_unnotified_rows_are_found_and_the_next_sooner(broker: ORM, alias: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notify, "MAX_POLL_SECONDS", 1.5)
    broker.dequeue_many(1, 3)
    rows = OrmQ.objects.using(alias)
    for within in (1.9, 0.8):
        sent = later(alias, lambda: rows.create(key="test", payload="old", lock=timezone.now()))
        assert broker.dequeue_many(1, 9)
        assert time.monotonic() - sent[0] < within
        broker.dequeue_many(1, 3)


def test_listening_broker_polls_rarely(broker: ORM, alias: str):
    broker.dequeue_many(1, 5)
    with CaptureQueriesContext(connections[alias]) as queries:
        for _ in range(5):
            broker.dequeue_many(1, 1)
    assert len(queries) <= 4  # polls, and probes of write access


def test_expired_lease_is_not_taken_for_an_unnotified_row(broker: ORM, alias: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notify, "MAX_POLL_SECONDS", 1.0)
    monkeypatch.setattr(Throttle, "PAUSE_FACTOR", 0)  # a scan of 50 ms, on a busy machine, delays the next for a second
    other = broker_for(orm=alias, retry=4)
    other.enqueue("package")
    other.dequeue_many(1, 0)
    began = time.monotonic()
    assert broker.dequeue_many(1, 9)
    assert 3.9 < time.monotonic() - began < 4.5
    broker.dequeue_many(1, 2.5)
    with CaptureQueriesContext(connections[alias]) as queries:
        broker.dequeue_many(1, 2)
    assert len(queries) <= 3


@pytest.mark.parametrize("how", ["sent", "released"])
def test_package_that_is_delayed_meanwhile_is_delivered_in_time(broker: ORM, alias: str, how: str):
    other = broker_for(orm=alias)
    if how == "released":
        other.enqueue("package")
        (taken,) = other.dequeue_many(1, 0)
    broker.dequeue_many(1, 2.7)

    def delay() -> None:
        if how == "sent":
            other.enqueue("package", delay=1)
        else:
            other.release_many([taken.ack_id], 1)

    sent = later(alias, delay)
    assert broker.dequeue_many(1, 9)
    assert 0.9 < time.monotonic() - sent[0] < 3  # not at the end of the wait


def test_row_behind_others_does_not_notify(broker: ORM, alias: str, postgres_server: Postgres):
    notified = notifications_of(postgres_server, alias, lambda: [broker.enqueue("package") for _ in range(5)])
    assert notified == 1


def test_many_rows_notify_once(broker: ORM, alias: str, postgres_server: Postgres):
    assert notifications_of(postgres_server, alias, lambda: broker.enqueue_many(["package"] * 5)) == 1


def test_connection_that_was_cut_is_replaced(broker: ORM, alias: str, postgres_server: Postgres):
    broker.enqueue("package")
    cut(postgres_server, alias)
    with pytest.raises(BrokerUnavailable):
        broker.queue_size()
    assert broker.queue_size() == 1


def test_transaction_whose_connection_was_cut_sends_nothing(broker: ORM, alias: str, postgres_server: Postgres):
    def send() -> None:
        with transaction.atomic(alias):
            broker.enqueue("one")
            cut(postgres_server, alias)
            broker.enqueue("two")

    with pytest.raises(BrokerUnavailable):
        send()
    assert broker.queue_size() == 0


@pytest.fixture
def rare_full_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make full scans as rare as after a very slow one."""
    monkeypatch.setattr(Throttle, "PAUSE_FACTOR", 1e9)
    monkeypatch.setattr(broker_module, "FULL_SCAN_INTERVAL_SECONDS", 1e9)


@pytest.mark.usefixtures("rare_full_scans")
def test_new_rows_are_leased_in_order_between_full_scans(broker: ORM, alias: str):
    other = broker_for(orm=alias)
    assert broker.dequeue_many(1, 0.1) == []
    taken: list[str] = []
    for first in range(0, 25, 5):
        other.enqueue_many([f"{number:02}" for number in range(first, first + 5)])
        taken += [delivery.package for delivery in broker.dequeue_many(3, 5)]
    while found := broker.dequeue_many(3, 0.1):
        taken += [delivery.package for delivery in found]
    assert taken == [f"{number:02}" for number in range(25)]


@pytest.mark.usefixtures("rare_full_scans")
def test_row_of_another_version_waits_for_a_full_scan(broker: ORM, alias: str, monkeypatch: pytest.MonkeyPatch):
    broker.dequeue_many(1, 0.1)
    OrmQ.objects.using(alias).create(key="test", payload="old", lock=timezone.now())
    assert broker.dequeue_many(1, 0.5) == []
    monkeypatch.setattr(broker, "_full_scan", Throttle())
    assert broker.dequeue_many(1, 5)


@pytest.mark.usefixtures("rare_full_scans")
def test_many_rows_of_a_sender_with_a_shorter_retry_are_leased(broker: ORM, alias: str):
    broker_for(orm=alias, retry=10).enqueue_many(["package"] * 25)
    assert [len(broker.dequeue_many(10, 5)) for _ in range(3)] == [10, 10, 5]


@pytest.mark.usefixtures("rare_full_scans")
def test_fetch_without_wait_is_a_full_scan(broker: ORM, alias: str):
    broker.dequeue_many(1, 0.1)
    OrmQ.objects.using(alias).create(key="test", payload="old", lock=timezone.now())
    assert broker.dequeue_many(1, 0)


@pytest.mark.usefixtures("rare_full_scans")
def test_release_causes_a_full_scan(broker: ORM):
    broker.enqueue_many(["one", "two"])
    (one,) = broker.dequeue_many(1, 5)
    broker.release_many([one.ack_id])
    assert [delivery.package for delivery in broker.dequeue_many(1, 5)] == ["one"]


@pytest.mark.usefixtures("rare_full_scans")
@pytest.mark.parametrize("analysed", [False, True])
def test_deleted_rows_that_a_transaction_sees_are_not_read(
    broker: ORM, alias: str, postgres_server: Postgres, analysed: bool
):
    """Also if PostgreSQL has noticed that the queue is empty, and expects that each plan is cheap."""
    with listener_on(postgres_server, alias) as other, other.transaction():
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT pg_current_xact_id()")
        broker.enqueue_many([secrets.token_hex(900) for _ in range(2_000)])  # a quarter of a page each
        while found := broker.dequeue_many(10, 0):
            broker.acknowledge_many([delivery.ack_id for delivery in found])

        def pages_of_a_task() -> int:
            with pages_read(alias) as count:
                broker.enqueue("package")
                (delivery,) = broker.dequeue_many(1, 5)
                broker.acknowledge_many([delivery.ack_id])
                broker.dequeue_many(1, 0.01)
            return sum(count)

        if analysed:
            with broker.database.cursor() as cursor:
                cursor.execute("ANALYZE django_q_ormq")
        with pages_read(alias) as whole:
            broker.dequeue_many(1, 0)
        assert sum(whole) > 500
        eventually(lambda: pages_of_a_task() < 100)


@pytest.mark.parametrize("fair", [False, True])
def test_claim_reads_no_delayed_rows_of_a_higher_priority(broker: ORM, alias: str, fair: bool):
    delay(broker, 10_000)
    broker.enqueue_many(["package"] * 2)
    broker.enqueue("low", priority=-1)
    broker.dequeue_many(1, 0)
    broker._fetches = FAIR_FETCHES - 1 if fair else 0
    with pages_read(alias) as pages:
        assert len(broker.dequeue_many(2, 0)) == 2
    assert sum(pages) < 150  # the delayed rows have thousands


def delay(broker: ORM, count: int) -> None:
    """Insert delayed rows of a high priority, and let the database count its rows."""
    lock = timezone.now() + timedelta(minutes=9)
    rows = [OrmQ(key="test", payload="x", lock=lock, due=0, rank=-50) for _ in range(count)]
    OrmQ.objects.using(broker.alias).bulk_create(rows, batch_size=500)
    with broker.database.cursor() as cursor:
        cursor.execute("ANALYZE django_q_ormq")


@contextmanager
def pages_read(alias: str) -> Iterator[list[int]]:
    """Count the pages of the queue's table and indexes that one transaction reads."""
    connection, count = connections[alias], []
    relations = "SELECT indexrelid FROM pg_index WHERE indrelid = 'django_q_ormq'::regclass"
    read = f"SELECT pg_stat_get_xact_blocks_fetched(relation) FROM ({relations} UNION SELECT 'django_q_ormq'::regclass)"

    def so_far() -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT sum(read)::int FROM ({read} AS relations (relation)) AS reads (read)")
            return cursor.fetchone()[0]

    connection.set_autocommit(False)
    try:
        before = so_far()
        yield count
        count.append(so_far() - before)
        connection.commit()
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def cut(server: Postgres, alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    with listener_on(server, alias) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [backend])


def later(alias: str, send) -> list[float]:
    """Call a function in a thread that is connected already; return a list that gets the time of the call."""
    sent: list[float] = []

    def work() -> None:
        connections[alias].ensure_connection()
        sent.append(time.monotonic())
        send()
        connections.close_all()

    threading.Timer(0.5, work).start()
    return sent


def listener_on(server: Postgres, alias: str):
    import psycopg

    dsn = f"postgresql://postgres@{server.address}/{connections[alias].settings_dict['NAME']}"
    return psycopg.connect(dsn, autocommit=True)


def notifications_of(server: Postgres, alias: str, send) -> int:
    with listener_on(server, alias) as listener:
        listener.execute(f'LISTEN "{channel_of("test")}"')
        send()
        return len(list(listener.notifies(timeout=0.5)))


@contextmanager
def locked(alias: str, seconds: float) -> Iterator[None]:
    """Lock the table for *seconds*."""
    begun = threading.Event()

    def hold() -> None:
        with transaction.atomic(alias), connections[alias].cursor() as cursor:
            cursor.execute("LOCK TABLE django_q_ormq IN ACCESS EXCLUSIVE MODE")
            begun.set()
            time.sleep(seconds)
        connections[alias].close()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(30)
    yield
    thread.join()


def test_lease_lasts_from_the_end_of_a_lock(alias: str):
    holder, other = broker_for(orm=alias, retry=2), broker_for(orm=alias, retry=2)
    holder.enqueue_many(["first", "second"])
    (first,) = holder.dequeue_many(1, 0)
    with locked(alias, 2.5):
        assert holder.renew([first.ack_id]) == []
        assert other.dequeue_many(2, 0)[0].package == "second"
        assert not other.dequeue_many(2, 0)
    holder.delete_queue()


def test_lock_that_outlasts_a_lease_does_not_renew_it(alias: str):
    holder = broker_for(orm=alias, retry=1)
    holder.enqueue("package")
    (first,) = holder.dequeue_many(1, 0)
    holder.dequeue_many(1, 0.2)  # the queue is empty: the next fetch reads the due times
    holder._next_poll_at = 0.0
    with locked(alias, 1.5):
        assert not holder.dequeue_many(1, 3)
    assert holder.renew([first.ack_id]) == []
    holder.delete_queue()
