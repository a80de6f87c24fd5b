"""The age of the packages that wait for a worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django_q.brokers import broker_of
from django_q.brokers.memory import MemoryBroker
from django_q.brokers.waiting import next_wait
from django_q.tasks import async_task
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package


@pytest.fixture
def broker():
    broker = broker_of("test")
    broker.delete_queue()
    yield broker
    broker.delete_queue()


def send(broker, seconds: float, **more) -> None:
    """Enqueue a task that was sent *seconds* ago."""
    package = new_package("math.floor", (1.5,)) | {"started": datetime.now(UTC) - timedelta(seconds=seconds)} | more
    broker.enqueue(PackageCodec.of(broker.settings).dumps(package))


def test_oldest_package_counts(broker):
    for seconds in (20, 60, 40):
        send(broker, seconds)
    assert next_wait(broker) == pytest.approx(60, abs=5)


@pytest.mark.parametrize("packages", [[], ["rubbish"]])
def test_nothing_waits_in_an_empty_or_unreadable_queue(broker, packages):
    for package in packages:
        broker.enqueue(package)
    assert next_wait(broker) == 0.0


def test_delayed_task_waits_from_its_earliest_execution(broker):
    send(broker, 600, run_after=datetime.now(UTC) - timedelta(seconds=20))
    assert next_wait(broker) == pytest.approx(20, abs=5)


@pytest.mark.django_db
@pytest.mark.parametrize("option", ["delay", "eta"])
def test_package_of_a_delayed_task_has_its_earliest_execution(broker, monkeypatch, option):
    sent = []
    monkeypatch.setattr(MemoryBroker, "enqueue", lambda self, package, **_: sent.append(package))
    began = datetime.now(UTC)
    value = 30 if option == "delay" else began + timedelta(seconds=30)
    async_task.options(**{option: value})("math.floor", 1.5)
    async_task("math.floor", 1.5)
    delayed, other = map(PackageCodec.of(broker.settings).loads, sent)
    assert timedelta(0) <= delayed["run_after"] - began - timedelta(seconds=30) < timedelta(seconds=5)
    assert "run_after" not in other


def test_leased_and_delayed_packages_do_not_wait(broker):
    send(broker, 60)
    broker.dequeue_many(1, 0)
    assert next_wait(broker) == 0.0


def test_broker_that_lists_nothing_knows_no_age(broker, monkeypatch):
    monkeypatch.setattr(type(broker), "supports_listing", False)
    assert next_wait(broker) is None


@pytest.mark.parametrize("value", [None, "2026", 7, datetime.max, datetime.min.replace(tzinfo=UTC)])
@pytest.mark.parametrize("uses_zones", [True, False])
def test_hostile_times_do_no_harm(broker, settings, value, uses_zones):
    settings.USE_TZ = uses_zones
    send(broker, 0, started=value)
    send(broker, 0, run_after=value)
    assert next_wait(broker) >= 0.0


def test_times_without_a_zone_are_those_of_the_project(broker, settings):
    settings.USE_TZ = False
    send(broker, 0, started=datetime.now() - timedelta(seconds=60))  # as the public editions do
    assert next_wait(broker) == pytest.approx(60, abs=5)


def test_time_in_the_future_is_no_age(broker):
    send(broker, -600)
    assert next_wait(broker) == 0.0
