"""Classes of errors of databases, as in the table of the README."""

from __future__ import annotations

import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import Error, OperationalError, connections, transaction
from django_q.databases import writable
from django_q.databases.errors import SESSION_FAILURES, code_of
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q_orm.broker import ORM
from django_q_orm.errors import Conflict, meaning_of
from django_q_orm.models import OrmQ

from tests.databases import BREAKS, ask, make_read_only, reachable

if TYPE_CHECKING:
    from collections.abc import Callable

SERVERS = ["postgres", "mariadb"]


@pytest.fixture(params=SERVERS)
def alias(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_alias")


@pytest.fixture
def broker(alias: str, django_db_blocker):
    with django_db_blocker.unblock():
        broker = ORM("test", settings=ClusterSettings.from_mapping({"bulk": 10, "orm": alias}))
        yield broker
        connections[alias].close()
        broker.delete_queue()


CALLS: dict[str, Callable[[ORM, str], object]] = {
    "enqueue": lambda broker, lease: broker.enqueue("another"),
    "enqueue_many": lambda broker, lease: broker.enqueue_many(["another"]),
    "dequeue_many": lambda broker, lease: broker.dequeue_many(1, 0),
    "acknowledge_many": lambda broker, lease: broker.acknowledge_many([lease]),
    "renew": lambda broker, lease: broker.renew([lease]),
    "release_many": lambda broker, lease: broker.release_many([lease]),
    "fail": lambda broker, lease: broker.fail(lease),
    "set_stat": lambda broker, lease: broker.set_stat("key", "value", 5),
}


@pytest.mark.parametrize("how", list(BREAKS))
@pytest.mark.parametrize("call", list(CALLS))
def test_session_that_cannot_write_is_replaced_by_each_call(broker: ORM, alias: str, call: str, how: str):
    broker.enqueue_many(["first", "second"])
    (taken,) = broker.dequeue_many(1, 0)
    BREAKS[how](connections[alias])
    with pytest.raises(BrokerUnavailable):
        CALLS[call](broker, str(taken.ack_id))
    CALLS[call](broker, str(taken.ack_id))


def test_idle_broker_leaves_a_server_that_gets_no_new_rows(broker: ORM, alias: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writable, "PROBE_SECONDS", 0.2)
    broker.dequeue_many(1, 0.3)  # the queue is empty: the broker only reads
    make_read_only(connections[alias])
    with pytest.raises(BrokerUnavailable):
        broker.dequeue_many(1, 9)
    broker.enqueue("package")
    assert broker.dequeue_many(1, 9)


def test_transaction_of_the_caller_stays_open(broker: ORM, alias: str):
    make_read_only(connections[alias])
    with transaction.atomic(using=alias):
        kept = connections[alias].connection
        with pytest.raises(BrokerUnavailable):
            broker.enqueue("package")
        assert connections[alias].connection is kept
        transaction.set_rollback(True, using=alias)


def test_server_that_does_not_listen(broker: ORM, alias: str):
    with reachable("nowhere", connections[alias].settings_dict | {"PORT": "1"}):
        away = ORM("test", settings=ClusterSettings.from_mapping({"orm": "nowhere"}))
        with pytest.raises(BrokerUnavailable, match="nowhere"):
            away.enqueue("package")


def test_missing_table_is_waited_for(broker: ORM, alias: str, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(OrmQ._meta, "db_table", "nowhere")
        with pytest.raises(BrokerUnavailable, match=f"migrate --database {alias}"):
            broker.enqueue("package")
    broker.enqueue("package")


def test_package_beyond_the_largest_statement_is_rejected(request: pytest.FixtureRequest, django_db_blocker):
    alias = request.getfixturevalue("mariadb_alias")
    broker = ORM("test", settings=ClusterSettings.from_mapping({"orm": alias}))
    with django_db_blocker.unblock():
        limit = ask(connections[alias], "SELECT @@max_allowed_packet")
        for send in (broker.enqueue, lambda package: broker.enqueue_many(["small", package])):
            with pytest.raises(PackageTooLarge, match="max_allowed_packet"):
                send("x" * (limit + 1))
            with pytest.raises(PackageTooLarge, match="max_allowed_packet"):
                send("ü" * (limit // 2 + 1))
        with pytest.raises(PackageTooLarge, match="max_allowed_packet"):
            broker.enqueue_many(["x" * (limit - 20_000), "ü" * (limit // 2 + 1)])  # the second one has more bytes
        broker.enqueue_many(["x" * (limit // 4)] * 6)  # together they exceed the size of one statement
        assert broker.queue_size() == 6
        broker.delete_queue()


def test_value_that_the_database_refuses_is_rejected(broker: ORM, alias: str):
    broker.list_key = "x" * 101
    with pytest.raises(BrokerError) as caught:
        broker.enqueue("package")
    assert not isinstance(caught.value, BrokerUnavailable)
    broker.list_key = "test"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, BrokerUnavailable) for code in ("08006", "25006", "53100", "53300", "55P03", "57014", "57P01")),
        *((code, BrokerUnavailable) for code in (1040, 1053, 1290, 1836, 2006, 2013)),
        *((code, BrokerUnavailable) for code in ("42501", "42P01", 1142, 1146)),
        *((code, Conflict) for code in ("40001", "40P01", 1020, 1205, 1213)),
        *((code, PackageTooLarge) for code in ("54000", 1153)),
    ],
)
def test_code_of_a_server(code: str | int, kind: type[BrokerError]):
    error = OperationalError(code, "text") if isinstance(code, int) else OperationalError("text")
    if isinstance(code, str):
        error.__cause__ = type("DriverError", (Exception,), {"sqlstate": code})()
    assert type(meaning_of(error, "default")) is kind


def error_of(code: str) -> OperationalError:
    error = OperationalError(int(code), "text") if len(code) == 4 else OperationalError("text")
    error.__cause__ = type("DriverError", (Exception,), {"sqlstate": code})() if len(code) == 5 else None
    return error


def test_readme_lists_the_codes_of_failed_sessions():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    errors = re.findall(r"^\| ([^|]+) \| unavailable", readme, re.MULTILINE)
    listed = [error_of(code) for code in re.findall(r"\b(?:\d{4}|\d[0-9A-Z]{4})\b", " ".join(errors))]
    assert {code_of(error) for error in listed} >= SESSION_FAILURES
    assert all(isinstance(meaning_of(error, "default"), BrokerUnavailable) for error in listed)


# isolation

STRICT = {
    "postgres": {"OPTIONS": {"options": "-c default_transaction_isolation=serializable"}},
    "mariadb": {"OPTIONS": {"charset": "utf8mb4", "isolation_level": "serializable"}},
}


def work(alias: str, number: int) -> list[str]:
    """Send, fetch and settle at random times, in a thread with its own connection."""
    broker, done = ORM("test", settings=ClusterSettings.from_mapping({"bulk": 3, "orm": alias})), []
    try:
        broker.enqueue_many([f"{number} {each} {secrets.token_hex(2)}" for each in range(20)])
        while deliveries := broker.dequeue_many(3, 0.3):
            broker.renew([delivery.ack_id for delivery in deliveries])
            assert broker.acknowledge_many([delivery.ack_id for delivery in deliveries]) == []
            done += [str(delivery.package) for delivery in deliveries]
    finally:
        connections[alias].close()
    return done


@pytest.mark.parametrize("server", SERVERS)
def test_serializable_transactions_are_repeated(request: pytest.FixtureRequest, server: str, django_db_blocker):
    known = connections[request.getfixturevalue(f"{server}_alias")].settings_dict
    with django_db_blocker.unblock(), reachable(f"strict_{server}", known | STRICT[server]) as alias:
        with ThreadPoolExecutor(4) as pool:
            done = [package for found in pool.map(lambda number: work(alias, number), range(4)) for package in found]
        assert len(done) == len(set(done)) == 80


def test_conflict_is_an_error_of_the_caller_within_a_transaction(broker: ORM, alias: str, monkeypatch):
    asked = []

    def conflict(*values: object) -> None:
        asked.append(values)
        error = Error("conflict")
        error.__cause__ = type("DriverError", (Exception,), {"sqlstate": "40001"})()
        raise error

    monkeypatch.setattr("django_q_orm.broker.check_size", conflict)
    with pytest.raises(BrokerUnavailable, match="conflict"):
        broker.enqueue("package")
    assert len(asked) > 1
    asked.clear()
    with pytest.raises(BrokerUnavailable), transaction.atomic(using=alias):
        broker.enqueue("package")
    assert len(asked) == 1
