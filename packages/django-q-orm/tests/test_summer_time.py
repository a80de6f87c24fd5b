"""Leases and delays at changes of summer time, with `USE_TZ = False`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connections
from django.utils import timezone
from django_q.brokers import PackageState
from django_q.settings import ClusterSettings
from django_q_orm import due_times
from django_q_orm.broker import ORM
from django_q_orm.models import OrmQ

if TYPE_CHECKING:
    from collections.abc import Iterator

ZONE = ZoneInfo("Europe/Amsterdam")
RETRY = 60
CHANGES = {
    "no change": datetime(2025, 7, 1, 1, tzinfo=UTC),
    "summer time ends": datetime(2025, 10, 26, 1, tzinfo=UTC),  # 03:00 becomes 02:00
    "summer time begins": datetime(2026, 3, 29, 1, tzinfo=UTC),  # 02:00 becomes 03:00
}


class Clock:
    """Clock that the code of the broker reads."""

    def __init__(self, change: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.change = self.utc = change
        self.monkeypatch = monkeypatch

    def move(self, seconds: float) -> None:
        """Set the clock to *seconds* after the change; before it, if negative."""
        self.utc = self.change + timedelta(seconds=seconds)
        self.monkeypatch.setattr(due_times, "SQLITE_MICROSECONDS", str(due_times.microseconds(self.utc)))

    def shown(self, seconds: float = 0) -> datetime:
        """Return the local time plus *seconds*, as public editions write it."""
        return self.utc.astimezone(ZONE).replace(tzinfo=None, fold=0) + timedelta(seconds=seconds)


@pytest.fixture(params=[pytest.param("default", marks=pytest.mark.django_db), "mariadb"])
def alias(request: pytest.FixtureRequest, settings, django_db_blocker) -> Iterator[str]:
    settings.TIME_ZONE, settings.USE_TZ = ZONE.key, False
    name = "default" if request.param == "default" else request.getfixturevalue("mariadb_alias")
    if connections[name].features.supports_timezones:
        pytest.skip("the database has time zones")
    with django_db_blocker.unblock():
        yield name
        OrmQ.objects.using(name).all().delete()


@pytest.fixture(params=CHANGES)
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(CHANGES[request.param], monkeypatch)

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return clock.utc.astimezone(tz) if tz else clock.shown()

    monkeypatch.setattr(due_times, "datetime", Frozen)
    monkeypatch.setattr(timezone, "now", clock.shown)
    return clock


ends = pytest.mark.parametrize("clock", ["summer time ends"], indirect=True)


@pytest.fixture
def broker(alias: str) -> ORM:
    return ORM("test", settings=ClusterSettings.from_mapping({"orm": alias, "retry": RETRY, "bulk": 100}))


def fetched(broker: ORM) -> list[str]:
    return [str(delivery.package) for delivery in broker.dequeue_many(9, 0)]


@pytest.mark.parametrize("seconds", [-3599, -900, -1])
def test_waiting_task_is_delivered_after_the_change(broker: ORM, clock: Clock, seconds: int):
    clock.move(seconds)
    broker.enqueue("first")
    broker.enqueue_many(["second", "third"])
    clock.move(1)
    assert broker.queue_size() == 3
    broker.enqueue("fourth")
    assert fetched(broker) == ["first", "second", "third", "fourth"]


def test_lease_keeps_its_duration(broker: ORM, clock: Clock):
    clock.move(-RETRY / 2)
    broker.enqueue("leased")
    (delivery,) = broker.dequeue_many(9, 0)
    clock.move(RETRY / 2 - 1)
    assert (fetched(broker), broker.lock_size(), broker.queue_size()) == ([], 1, 0)
    broker.purge_queue()
    clock.move(RETRY / 2 + 1)
    assert broker.fail(str(delivery.ack_id)) is False
    assert fetched(broker) == ["leased"]


def test_renewed_lease_keeps_its_duration(broker: ORM, clock: Clock):
    clock.move(-RETRY)
    broker.enqueue("leased")
    (delivery,) = broker.dequeue_many(9, 0)
    clock.move(-RETRY / 2)
    assert broker.renew([str(delivery.ack_id)]) == []
    clock.move(RETRY / 2 - 1)
    assert fetched(broker) == []
    clock.move(RETRY / 2 + 1)
    assert fetched(broker) == ["leased"]


@pytest.mark.parametrize("delay", [60, 3600, 7200])
@pytest.mark.parametrize("how", ["sent", "released"])
def test_delay_keeps_its_duration(broker: ORM, clock: Clock, delay: int, how: str):
    clock.move(-30)
    if how == "sent":
        broker.enqueue("delayed", delay=delay)
    else:
        broker.enqueue("delayed")
        broker.release_many([str(broker.dequeue_many(1, 0)[0].ack_id)], delay)
    clock.move(delay - 31)
    assert fetched(broker) == []
    clock.move(delay - 29)
    assert fetched(broker) == ["delayed"]


def test_released_task_is_delivered_first(broker: ORM, clock: Clock):
    clock.move(-10)
    broker.enqueue_many(["first", "second"])
    (delivery,) = broker.dequeue_many(1, 0)
    clock.move(10)
    broker.enqueue("third")
    broker.release_many([str(delivery.ack_id)])
    assert fetched(broker) == ["first", "second", "third"]


# other editions: they use `lock` only, in local time


def rows(broker: ORM) -> Any:
    return OrmQ.objects.using(broker.alias)


def insert_as_other_edition(broker: ORM, lock: datetime) -> None:
    with connections[broker.alias].cursor() as cursor:
        name = connections[broker.alias].ops.quote_name
        columns = ", ".join(map(name, ("key", "payload", "lock")))
        cursor.execute(f"INSERT INTO django_q_ormq ({columns}) VALUES ('test', 'foreign', %s)", [str(lock)])


def test_task_of_another_edition_is_taken_at_once(broker: ORM, clock: Clock):
    insert_as_other_edition(broker, clock.shown())
    assert (broker.queue_size(), fetched(broker)) == (1, ["foreign"])


@ends
@pytest.mark.parametrize("seconds", [-3570, -900, -1])
def test_task_of_another_edition_is_taken_after_the_change(broker: ORM, clock: Clock, seconds: int):
    clock.move(seconds)
    insert_as_other_edition(broker, clock.shown())
    clock.move(1)
    if seconds == -3570:  # within a lease from now
        assert fetched(broker) == []
        clock.move(RETRY)
    assert fetched(broker) == ["foreign"]


def test_lease_of_another_edition_is_left(broker: ORM, clock: Clock):
    clock.move(600)
    broker.enqueue("package")
    rows(broker).update(lock=clock.shown(RETRY))
    clock.move(600 + RETRY - 1)
    assert (fetched(broker), broker.queue_size()) == ([], 0)
    clock.move(600 + RETRY + 1)
    assert fetched(broker) == ["package"]


def test_other_editions_leave_our_leases_and_take_the_rest(broker: ORM, clock: Clock):
    clock.move(-RETRY / 2)
    broker.enqueue_many(["leased", "waiting"])
    broker.dequeue_many(1, 0)
    for seconds in (-RETRY / 2, -1, 0, RETRY / 2 - 1):
        clock.move(seconds)
        assert list(rows(broker).filter(lock__gt=clock.shown()).values_list("payload", flat=True)) == ["leased"]
    clock.move(1)
    broker.enqueue("sent now")
    assert rows(broker).filter(lock__lte=clock.shown(-RETRY)).get(payload="sent now")


@pytest.mark.parametrize("how", ["long lease", "no lock"])
def test_row_that_is_not_due_stays(broker: ORM, clock: Clock, how: str):
    clock.move(7200)
    insert_as_other_edition(broker, clock.shown(RETRY * 10))
    if how == "no lock":
        rows(broker).update(lock=None)
    assert (fetched(broker), broker.queue_size()) == ([], 0)


def test_listed_packages_have_the_seconds_until_they_are_due(clock: Clock, alias: str) -> None:
    clock.move(-30)
    broker = ORM("test", settings=ClusterSettings.from_mapping({"orm": alias, "retry": RETRY}))
    broker.enqueue("leased")
    assert broker.dequeue_many(1, 0)
    broker.enqueue("delayed", delay=3600)
    OrmQ.objects.using(alias).create(key="test", payload="theirs", lock=clock.shown(20))
    clock.move(-20)
    [leased] = broker.list_packages(PackageState.LEASED, 9)
    assert (leased.package, round(leased.seconds)) == ("leased", RETRY - 10)
    delayed = {each.package: round(each.seconds) for each in broker.list_packages(PackageState.DELAYED, 9)}
    assert delayed == {"theirs": 10, "delayed": 3590}
