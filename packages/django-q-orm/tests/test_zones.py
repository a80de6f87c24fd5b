"""Locks, leases and delays after a change of `USE_TZ`."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.settings import ClusterSettings
from django_q_orm.broker import ORM
from django_q_orm.models import OrmQ

pytestmark = pytest.mark.django_db

RETRY = 60.0


@pytest.fixture(params=[True, False], ids=["to naive", "to aware"])
def before(request):
    return request.param


@pytest.fixture(params=["America/Chicago", "Europe/Amsterdam", "Asia/Kolkata"])
def change(request, settings, before):
    """Change `USE_TZ` of the site."""
    settings.TIME_ZONE, settings.USE_TZ = request.param, before

    def turn() -> None:
        settings.USE_TZ = not before

    return turn


def broker() -> ORM:
    """Return the broker of a process that has just started."""
    return ORM(settings=ClusterSettings(orm="default", retry=RETRY, timeout=None))


def seconds_until_due() -> float:
    return (OrmQ.objects.get().lock - timezone.now()).total_seconds()


def test_waiting_task_is_delivered_at_once(change):
    broker().enqueue("first")
    broker().enqueue_many(["second"])
    change()
    broker().enqueue("third")
    assert {each.package for each in broker().dequeue_many(9, 0)} == {"first", "second", "third"}


def test_lease_ends_no_later_than_a_new_one(change):
    broker().enqueue("leased")
    assert broker().dequeue_many(9, 0)
    change()
    broker().dequeue_many(9, 0)
    assert seconds_until_due() <= RETRY + 0.001  # the clock of SQLite counts milliseconds


def test_lease_of_before_is_acknowledged(change):
    broker().enqueue("leased")
    (delivery,) = broker().dequeue_many(9, 0)
    change()
    assert broker().renew([delivery.ack_id]) == []
    assert broker().acknowledge_many([delivery.ack_id]) == []
    assert not OrmQ.objects.exists()


@pytest.mark.parametrize("hours", [1, 12, 48])
def test_delay_keeps_its_moment(change, hours):
    broker().enqueue("later", delay=hours * 3600.0)
    change()
    for _ in range(2):
        assert broker().dequeue_many(9, 0) == []
        assert hours * 3600 - 60 < seconds_until_due() <= hours * 3600


def test_failed_attempt_keeps_its_moment_and_its_number(change):
    broker().enqueue("failed")
    (first,) = broker().dequeue_many(9, 0)
    broker().release_many([first.ack_id], delay=3600.0)
    change()
    assert broker().dequeue_many(9, 0) == []
    assert 3540 < seconds_until_due() <= 3600
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=RETRY))
    (second,) = broker().dequeue_many(9, 0)
    assert (first.attempt, second.attempt) == (1, 2)


def test_first_attempt_after_a_delay_is_number_one():
    broker().enqueue("later", delay=3600.0)
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=RETRY))
    (delivery,) = broker().dequeue_many(9, 0)
    assert delivery.attempt == 1
    assert broker().lock_size() == 1


def test_other_queues_are_left_alone(change):
    ORM(list_key="other", settings=ClusterSettings(orm="default", retry=RETRY, timeout=None)).enqueue("x")
    change()
    lock = OrmQ.objects.get().lock
    broker().dequeue_many(9, 0)
    assert OrmQ.objects.get().lock == lock


@pytest.mark.skipif(connection.features.supports_timezones, reason="the database has time zones")
def test_queue_is_corrected_once():
    made, counts = broker(), []
    for _ in range(3):
        with CaptureQueriesContext(connection) as queries:
            made.dequeue_many(1, 0)
        counts.append(len(queries))
    assert counts == [counts[1] + 1, counts[1], counts[1]]


def test_long_lease_of_another_edition_is_left(settings):
    settings.USE_TZ = False
    made = ORM(settings=ClusterSettings(orm="default", retry=7000, timeout=None))
    OrmQ.objects.create(key=made.list_key, payload="leased", lock=timezone.now() + timedelta(seconds=7000))
    assert made.dequeue_many(1, 0) == []
