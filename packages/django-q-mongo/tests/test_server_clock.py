"""Leases and delays end by the server's clock, also if the clocks of clients are wrong."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_mongo import Mongo, documents, server_clock
from django_q_mongo.server_clock import CLOCK_RESOLUTION, MEASURE_SECONDS, ServerClock

SHIFTS = [-3600, -61, 61, 3600]
"""Errors of a client's clock, in seconds."""


@pytest.fixture
def make(mongo_server):
    mongo_server.start()
    name = f"clock-{uuid.uuid4().hex[:12]}"
    settings = ClusterSettings.from_mapping({"mongo": mongo_server.options, "retry": 60})
    yield lambda retry=60: Mongo(name, settings=ClusterSettings(**vars(settings) | {"retry": retry}))
    Mongo(name, settings=settings).delete_queue()


@contextmanager
def clock_ahead(seconds: float):
    """Shift the clock of this machine, in a process that has asked no server yet."""
    with pytest.MonkeyPatch.context() as patch:
        shift = timedelta(seconds=seconds)

        class Shifted(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + shift

        patch.setattr(documents, "datetime", Shifted)
        patch.setattr(server_clock, "_clocks", server_clock.ProcessLocal(dict))
        yield


def seconds_until_due(broker: Mongo) -> list[float]:
    """Return the remaining delays and leases of packages, by the server's clock."""
    present = server_clock.time_of(broker.connection).replace(tzinfo=None)
    return [(each["due"] - present).total_seconds() for each in broker.collection.find().sort("_id")]


def about(seconds: float) -> object:
    """Return an approximation of a time that is measured on a busy machine; the errors of the clocks are larger."""
    return pytest.approx(seconds, abs=20)


@pytest.mark.parametrize("shift", SHIFTS)
def test_package_of_a_sender_with_wrong_clock_is_fetched(make, shift):
    with clock_ahead(shift):
        make().enqueue("one")
        make().enqueue_many(["two", "three"])
    found: list[str] = []
    eventually(lambda: found.extend(each.package for each in make().dequeue_many(5, 0)) or len(found) == 3)
    assert found == ["one", "two", "three"]


@pytest.mark.parametrize("shift", SHIFTS)
def test_delay_of_a_sender_with_wrong_clock_is_kept(make, shift):
    with clock_ahead(shift):
        make().enqueue("package", delay=1000)
    assert seconds_until_due(make()) == [about(1000)]


@pytest.mark.parametrize("shift", SHIFTS)
def test_consumer_with_wrong_clock_fetches_no_leased_package(make, shift):
    make().enqueue("package")
    (held,) = make().dequeue_many(1, 10)
    with clock_ahead(shift):
        broker = make()
        assert broker.dequeue_many(1, 0) == broker.dequeue_many(5, 0) == []
        assert (broker.queue_size(), broker.lock_size()) == (0, 1)
    assert make().acknowledge(held.ack_id)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("limit", [1, 5])
def test_lease_of_a_consumer_with_wrong_clock_has_full_length(make, shift, limit):
    make().enqueue("package")
    with clock_ahead(shift):
        (held,) = make(retry=1000).dequeue_many(limit, 10)
        assert seconds_until_due(make()) == [about(1000)]
        assert make(retry=2000).renew([held.ack_id]) == []
        assert seconds_until_due(make()) == [about(2000)]


@pytest.mark.parametrize("shift", SHIFTS)
def test_release_of_a_consumer_with_wrong_clock_has_full_delay(make, shift):
    make().enqueue_many(["one", "two"])
    with clock_ahead(shift):
        broker = make(retry=1000)
        one, two = broker.dequeue_many(2, 10)
        assert broker.release(one.ack_id, delay=2000)
        assert broker.fail(two.ack_id)
        assert broker.requeue_dead() == 1
        assert seconds_until_due(broker) == [about(2000), about(0)]


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("zone", [None, "Asia/Tokyo", "Asia/Kolkata", "America/New_York"])
def test_consumer_with_wrong_clock_respects_older_clusters(make, monkeypatch, shift, zone):
    present = datetime.now(UTC)
    if zone is not None:  # USE_TZ is False
        present = present.astimezone(ZoneInfo(zone)).replace(tzinfo=UTC)
        wrong = timedelta(seconds=shift)
        local = lambda: datetime.now(ZoneInfo(zone)).replace(tzinfo=None) + wrong  # noqa: E731
        monkeypatch.setattr(documents.timezone, "now", local)
    with clock_ahead(shift):
        broker = make()
        for name, seconds in (("held", 5), ("sent", 60)):
            broker.collection.insert_one({"payload": name, "lock": present - timedelta(seconds=seconds)})
        assert [each.package for each in broker.dequeue_many(5, 0)] == ["sent"]


class Server:
    """Client of a server with a clock."""

    def __init__(self, **hello: Any) -> None:
        self.hello = hello
        self.asked = 0

    @property
    def admin(self) -> Server:
        return self

    def command(self, name: str) -> dict[str, Any]:
        assert name == "hello"
        self.asked += 1
        return self.hello


@pytest.fixture
def seconds(monkeypatch) -> list[float]:
    """Times of the monotonic clock; the last element is the present."""
    seconds = [1000.0]
    monkeypatch.setattr(server_clock.clock, "monotonic", lambda: seconds[-1])
    return seconds


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_server_is_asked_at_intervals(seconds):
    server, clock = Server(localTime=NOON.replace(tzinfo=None)), ServerClock()
    for later in (0.0, 1.0, MEASURE_SECONDS - 1):
        seconds.append(1000 + later)
        assert abs(clock.now(server) - NOON - timedelta(seconds=later)) <= CLOCK_RESOLUTION
    assert server.asked == 1
    seconds.append(1000 + MEASURE_SECONDS)
    server.hello["localTime"] = NOON - timedelta(hours=1)
    assert abs(clock.now(server) - NOON + timedelta(hours=1)) <= CLOCK_RESOLUTION
    assert server.asked == 2


def test_reading_that_agrees_with_the_server_is_kept(seconds):
    server, clock = Server(localTime=NOON), ServerClock()
    before = clock.now(server)
    seconds.append(1000 + MEASURE_SECONDS)
    server.hello["localTime"] = NOON + timedelta(seconds=MEASURE_SECONDS) + CLOCK_RESOLUTION / 4
    assert clock.now(server) - before == timedelta(seconds=MEASURE_SECONDS)


def test_time_of_this_machine_replaces_a_missing_one(seconds):
    assert abs(ServerClock().now(Server()) - datetime.now(UTC)) < timedelta(seconds=5)
