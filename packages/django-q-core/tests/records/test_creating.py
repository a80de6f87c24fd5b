"""Records of tasks that are sent alone to a broker in the database of the records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django_q.brokers import Broker
from django_q.exceptions import BrokerError
from django_q.models import Record
from django_q.records.creating import create, insert_beside
from django_q.wire.package import new_package
from django_q.wire.tracking import NewRecord

pytestmark = pytest.mark.django_db


class KeptBroker(Broker):
    """Broker of the database of the records, without a method of its own that enqueues beside a statement."""

    alias = "default"
    refuses = False

    def enqueue(self, package: str, **options: object) -> str:
        if self.refuses:
            raise BrokerError("refused")
        return f"{package} {options}"


@pytest.fixture
def package():
    return new_package("math.floor", (1.5,), track=True)


@pytest.mark.parametrize("options", [{}, {"delay": 60, "priority": 3}])
def test_record_is_inserted_beside_the_package(package, options) -> None:
    broker = KeptBroker("own")
    assert broker.enqueue_beside(insert_beside([package], broker, "own"), "text", **options) == f"text {options}"
    assert Record.objects.get().pk == package["id"]


def test_refused_package_leaves_no_record(package) -> None:
    broker = KeptBroker("own")
    broker.refuses = True
    with pytest.raises(BrokerError):
        broker.enqueue_beside(insert_beside([package], broker, "own"), "text")
    assert not Record.objects.exists()


def test_only_one_tracked_package_of_its_database_is_inserted_beside(package) -> None:
    untracked = new_package("math.floor", (1.5,))
    assert insert_beside([untracked], KeptBroker("own"), "own") is None
    assert insert_beside([package, package], KeptBroker("own"), "own") is None
    assert insert_beside([package], Broker("own"), "own") is None


def test_record_has_all_columns_of_its_task(package) -> None:
    late = datetime.now(UTC) + timedelta(days=1)
    rich = new_package("math.ceil", (2.5,), {"key": [1]}, track=True, group="some", cluster="other", priority=-7)
    rich |= {"backend": "json", "run_after": late}
    create([NewRecord.of(each, "own") for each in (package, rich, new_package("math.floor", (1,), track=True))])
    first, second = Record.objects.get(pk=package["id"]), Record.objects.get(pk=rich["id"])
    assert (first.status, first.group, first.queue, first.backend, first.priority) == ("queued", None, "own", "", 0)
    assert (first.name, first.enqueued_at, first.run_after) == (package["name"], package["started"], None)
    assert (first.args, first.kwargs, first.attempts, first.result) == ((1.5,), {}, [], None)
    assert (second.group, second.queue, second.backend, second.priority) == ("some", "other", "json", -7)
    assert (second.args, second.kwargs, second.run_after) == ((2.5,), {"key": [1]}, late)
    assert Record.objects.count() == 3


def test_record_of_a_task_that_is_sent_twice_stays(package) -> None:
    for name in ("first", "second"):
        create([NewRecord.of(package | {"name": name}, "own")])
    assert Record.objects.get().name == "first"
