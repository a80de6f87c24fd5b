"""The tables of guarantees: the same rows in each broker's README, each with tests that exist, and what they say."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance, eventually
from django_q_disque import Disque
from django_q_ironmq import IronMQBroker
from django_q_mongo import Mongo
from django_q_orm.broker import ORM
from django_q_redis import Redis
from django_q_sqs import Sqs

pytestmark = pytest.mark.django_db(transaction=True)

BROKERS = {"orm": ORM, "redis": Redis, "sqs": Sqs, "mongo": Mongo, "ironmq": IronMQBroker, "disque": Disque}
PRODUCTS = tuple(BROKERS)


ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^\| (?P<row>[^|]+) \| (?P<text>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)


def lines(product):
    """The lines of the table in the README of a product: the name of each row, what it says, and its tests."""
    readme = (ROOT / f"packages/django-q-{product}/README.md").read_text(encoding="utf-8")
    table = readme.partition("## Guarantees\n")[2].partition("\n## ")[0]
    found = [(line["row"], line["text"], line["tests"]) for line in LINE.finditer(table)]
    return [each for each in found if each[0] != "---"]


def exists(product, test):
    """Return True if there is a test of that name, and a broker of the product is not excused from it."""
    path, _, name = test.partition("::")
    if path == "conformance":
        promise = getattr(BrokerConformance, name, None)
        needed = [each for each in getattr(promise, "needs", ()) if not hasattr(BrokerConformance, each)]
        return promise is not None and all(getattr(BROKERS[product], capability) for capability in needed)
    own, shared = ROOT / f"packages/django-q-{product}/tests" / path, ROOT / path
    file = own if own.exists() else shared
    return re.search(rf"def {name}\(", file.read_text(encoding="utf-8")) is not None


def meanings(product):
    """The meaning of each line in the table of errors in the README of a product."""
    readme = (ROOT / f"packages/django-q-{product}/README.md").read_text(encoding="utf-8")
    table = readme.partition("## Unavailable or rejected\n")[2].partition("\n## ")[0]
    return [line.split("|")[2].strip() for line in table.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("product", PRODUCTS)
def test_readme_tells_unavailable_from_rejected(product):
    found = meanings(product)
    assert sum(meaning.startswith("unavailable") for meaning in found) >= 5
    assert any(meaning.startswith("rejected") for meaning in found)


@pytest.mark.parametrize("product", PRODUCTS)
def test_readme_has_the_rows_of_all_others(product):
    rows = [row for row, _, _ in lines(product)]
    assert len(rows) > 20
    assert rows == [row for row, _, _ in lines(PRODUCTS[0])]


@pytest.mark.parametrize("product", PRODUCTS)
def test_each_line_of_a_readme_has_tests(product):
    named = {row: re.findall(r"`([^`]+)`", tests) for row, _, tests in lines(product)}
    assert [row for row, tests in named.items() if not tests] == []
    assert [test for tests in named.values() for test in tests if not exists(product, test)] == []


@pytest.fixture(params=PRODUCTS)
def product(request):
    return request.param


@pytest.fixture
def settings(request, product, monkeypatch):
    """Settings that choose the broker of a product, on a private server."""
    if product == "orm":
        return {"orm": "default"}
    server = request.getfixturevalue({"sqs": "ministack_server"}.get(product, f"{product}_server"))
    server.start()
    match product:
        case "redis":
            server.flush()
            return {"redis": server.url}
        case "disque":
            return {"disque_nodes": [server.address]}
        case "ironmq":
            monkeypatch.setattr(IronMQBroker, "min_lease_seconds", 1)
            return {"iron_mq": server.options}
    return {product: server.options}


@pytest.fixture
def make_broker(product, settings):
    """Make a broker of the product for a queue of its own."""
    made = []

    def make(retry=60):
        chosen = ClusterSettings.from_mapping(settings | {"name": f"own-{uuid.uuid4().hex[:12]}", "retry": retry})
        made.append(BROKERS[product](chosen.list_key, settings=chosen))
        return made[-1]

    yield make
    for broker in made:
        broker.delete_queue()
        broker.dead_letters().delete_queue()


def take(broker):
    return eventually(lambda: broker.dequeue_many(1, 0.5), within=10)[0]


def text(delivery):
    return delivery.package if isinstance(delivery.package, str) else delivery.package.decode()


def three(broker):
    """The next three packages, fetched one by one."""
    return [text(take(broker)) for _ in range(3)]


EXPIRED = {"disque": "first", "ironmq": "first", "mongo": "last", "orm": "last", "redis": "first"}
"""Place of a package whose lease has expired, among those that were sent with it."""

FAILED = {"disque": "last", "ironmq": "first", "mongo": "last", "orm": "last", "redis": "last"}
"""Place of a package that was released with a delay which is over."""

PURGE_KEEPS = {
    "disque": {"dead", "leased"},
    "ironmq": {"dead"},
    "mongo": {"dead", "leased"},
    "orm": {"dead", "leased"},
    "redis": {"dead", "leased"},
    "sqs": {"dead"},
}
"""Packages that a purge leaves."""


@pytest.mark.parametrize("product", sorted(EXPIRED), indirect=True)
def test_place_of_a_package_that_is_offered_again(make_broker, product):
    expired, failed = make_broker(retry=1), make_broker()
    for broker in (expired, failed):
        broker.enqueue_many(["again", "two", "three"])
    take(expired)
    failed.release(take(failed).ack_id, delay=1)
    time.sleep(2.5)  # an expired lease is found by the fetch that it is offered to
    expired.settings = failed.settings
    orders = {"first": ["again", "two", "three"], "last": ["two", "three", "again"]}
    assert [three(expired), three(failed)] == [orders[EXPIRED[product]], orders[FAILED[product]]]


def test_purge_keeps_what_the_readme_says(make_broker, product):
    broker = make_broker()
    broker.enqueue_many(["dead", "leased"])
    found = {text(each): each for each in (take(broker), take(broker))}
    broker.move_to_dead_letters(found["dead"])
    broker.enqueue("delayed", delay=1)
    broker.enqueue("waits")
    broker.purge_queue()
    kept = {"leased"} if broker.acknowledge(found["leased"].ack_id) else set()
    time.sleep(1.5 if product == "sqs" else 2.5)
    kept |= {text(each) for each in broker.dequeue_many(10, 0.5)}
    kept |= {"dead"} if broker.dead_size() else set()
    assert kept == PURGE_KEEPS[product]


@pytest.mark.parametrize("product", sorted(BROKERS.keys() - {"ironmq"}), indirect=True)
def test_package_of_a_megabyte_passes(make_broker):
    broker = make_broker()
    broker.enqueue("x" * 1_000_000)
    assert len(take(broker).package) == 1_000_000
