"""What only PostgreSQL can do."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q_orm import bell
from django_q_orm.bell import channel_of
from django_q_orm.broker import ORM
from django_q_orm.models import OrmQ

if TYPE_CHECKING:
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


def test_row_rings(broker: ORM, alias: str):
    broker.dequeue_many(1, 2.5)
    sent = later(lambda: broker_for(orm=alias).enqueue("package"))
    assert broker.dequeue_many(1, 5)
    assert time.monotonic() - sent[0] < 0.4


def test_row_of_a_transaction_rings_when_that_commits(broker: ORM, alias: str):
    broker.dequeue_many(1, 2.5)

    def send() -> None:
        with transaction.atomic(alias):
            broker_for(orm=alias).enqueue("package")
            time.sleep(0.7)
            sent.append(time.monotonic())

    sent: list[float] = []
    later(send)
    assert broker.dequeue_many(1, 5)
    assert time.monotonic() - sent[0] < 0.4


def test_rows_that_do_not_ring_are_found_and_the_next_sooner(broker: ORM, alias: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bell, "LONGEST", 1.5)
    broker.dequeue_many(1, 3)
    rows = OrmQ.objects.using(alias)
    for within in (1.9, 0.8):
        sent = later(lambda: rows.create(key="test", payload="old", lock=timezone.now()))
        assert broker.dequeue_many(1, 9)
        assert time.monotonic() - sent[0] < within
        broker.dequeue_many(1, 3)


def test_idle_broker_that_listens_looks_now_and_then(broker: ORM, alias: str):
    broker.dequeue_many(1, 5)
    with CaptureQueriesContext(connections[alias]) as queries:
        for _ in range(5):
            broker.dequeue_many(1, 1)
    assert len(queries) <= 2


def test_lease_that_ended_while_nobody_looked_is_no_silent_producer(
    broker: ORM, alias: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bell, "LONGEST", 1.0)
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


@pytest.mark.parametrize("how", ["sent", "given back"])
def test_package_that_is_delayed_while_nobody_looks_is_offered_in_time(broker: ORM, alias: str, how: str):
    other = broker_for(orm=alias)
    if how == "given back":
        other.enqueue("package")
        (taken,) = other.dequeue_many(1, 0)
    broker.dequeue_many(1, 2.7)

    def delay() -> None:
        if how == "sent":
            other.enqueue("package", delay=1)
        else:
            other.release_many([taken.ack_id], 1)

    sent = later(delay)
    assert broker.dequeue_many(1, 9)
    assert 0.9 < time.monotonic() - sent[0] < 1.5


def test_row_that_finds_others_waiting_is_silent(broker: ORM, alias: str, postgres_server: Postgres):
    rung = count_of_rings(postgres_server, alias, lambda: [broker.enqueue("package") for _ in range(5)])
    assert rung == 1


def test_many_rows_ring_once(broker: ORM, alias: str, postgres_server: Postgres):
    assert count_of_rings(postgres_server, alias, lambda: broker.enqueue_many(["package"] * 5)) == 1


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


def cut(server: Postgres, alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    with listener_on(server, alias) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [backend])


def later(send) -> list[float]:
    sent: list[float] = []

    def work() -> None:
        sent.append(time.monotonic())
        send()
        connections.close_all()

    threading.Timer(0.5, work).start()
    return sent


def listener_on(server: Postgres, alias: str):
    import psycopg

    dsn = f"postgresql://postgres@{server.address}/{connections[alias].settings_dict['NAME']}"
    return psycopg.connect(dsn, autocommit=True)


def count_of_rings(server: Postgres, alias: str, send) -> int:
    with listener_on(server, alias) as listener:
        listener.execute(f'LISTEN "{channel_of("test")}"')
        send()
        return len(list(listener.notifies(timeout=0.5)))
