"""Beside a site that uses the same SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.utils import timezone
from django_q.cluster.maintenance import Maintenance
from django_q.cluster.state import ClusterState
from django_q.models import Batch, Schedule, Task
from django_q.results.batch_maintenance import BatchMaintenance
from django_q.schedules.declared import synchronise
from django_q.schedules.due import DueSchedules
from django_q.settings import ClusterSettings
from django_q_orm.broker import ORM

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'"),
]


@pytest.fixture
def settings() -> ClusterSettings:
    return ClusterSettings.from_mapping({"name": "test", "orm": "default"})


@pytest.fixture
def broker(settings: ClusterSettings) -> ORM:
    return ORM("test", settings=settings)


@contextmanager
def another_writes() -> Iterator[None]:
    """Hold the file's write lock in another connection; a write of ours fails at once."""
    with connection.cursor() as cursor, closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        (before,) = cursor.execute("PRAGMA busy_timeout").fetchone()
        cursor.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.rollback()
            cursor.execute(f"PRAGMA busy_timeout = {before}")


def test_fetch_from_an_empty_queue_does_not_lock_the_file(broker: ORM):
    with another_writes():
        assert broker.dequeue_many(10, 0) == []
        assert broker.dequeue_many(10, 0.05) == []
        assert broker.renew([]) == []


def test_statistics_do_not_lock_the_file(broker: ORM):
    with another_writes():
        broker.set_stat("key", "value", 60)
        assert broker.get_stats("key*") == ["value"]


@pytest.mark.parametrize("save_limit_per", [None, "group"])
def test_scheduler_without_work_does_not_lock_the_file(broker: ORM, save_limit_per: str | None):
    now = timezone.now()
    Schedule.objects.create(func="math.floor", next_run=now + timedelta(days=1))
    Task.objects.create(id="a" * 32, name="task", func="math.floor", started=now, stopped=now, success=True)
    Batch.objects.create(id="b" * 32, total=2, started=now, due=now + timedelta(days=1), queue="test")
    settings = ClusterSettings.from_mapping({"orm": "default", "save_limit_per": save_limit_per})
    batches = BatchMaintenance(settings, broker)
    maintenance = Maintenance("scheduler", settings, ClusterState(1), batches.step)
    with another_writes():
        synchronise(settings)
        assert DueSchedules(settings, broker).turn().sent == []
        maintenance.step()
    assert not maintenance.backoff.failures
