"""On SQLite, the transaction that sends due schedules only writes: others wait for its end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.brokers.memory_queue import MemoryQueue
from django_q.databases.sqlite import exclusive
from django_q.exceptions import BrokerUnavailable
from django_q.models import Schedule
from django_q.schedules.due import DueSchedules
from django_q.settings import ClusterSettings
from django_q.signals import pre_enqueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django_q.brokers import Broker

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'"),
]


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = get_broker()
    broker.delete_queue()
    yield broker
    broker.delete_queue()


@pytest.fixture
def schedules(broker: Broker) -> DueSchedules:
    return DueSchedules(ClusterSettings.from_mapping({"name": "test"}), broker)


@pytest.fixture
def while_packing() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Call something when a due task is packed."""
    receivers: list[Any] = []

    def connect(work: Callable[[], None]) -> None:
        receivers.append(lambda **_: work())
        pre_enqueue.connect(receivers[-1])

    yield connect
    for receiver in receivers:
        pre_enqueue.disconnect(receiver)


def due(**columns: Any) -> Schedule:
    columns = {"func": "math.floor", "args": "1.5", "schedule_type": Schedule.HOURLY} | columns
    return Schedule.objects.create(next_run=timezone.now() - timedelta(minutes=1), **columns)


def write_elsewhere(sql: str = "UPDATE django_q_schedule SET name = name") -> None:
    """Write in another connection, which fails at once if the file is locked."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0)) as other:
        other.execute(sql)
        other.commit()


def test_others_write_while_a_broker_elsewhere_is_slow(broker, schedules, monkeypatch):
    due()
    put = MemoryQueue.put
    monkeypatch.setattr(MemoryQueue, "put", lambda *arguments: (write_elsewhere(), put(*arguments))[1])
    assert len(schedules.run_pass().sent) == broker.queue_size() == 1


def test_others_write_while_receivers_of_the_project_run(schedules, while_packing):
    due()
    written: list[str] = []
    while_packing(lambda: (write_elsewhere(), written.append("once")))
    assert len(schedules.run_pass().sent) == len(written) == 1


def test_broker_that_is_away_leaves_the_schedule_due(broker, schedules, monkeypatch):
    schedule = due()

    def fail(self, packages, delay, *more):
        raise BrokerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryQueue, "put", fail)
        assert schedules.run_pass().own_queue_error is not None
    schedule.refresh_from_db()
    assert schedule.next_run < timezone.now()
    Schedule.objects.update(retry_at=None)
    assert len(schedules.run_pass().sent) == 1


def test_slot_that_another_scheduler_is_sending_is_left(schedules):
    due()
    with exclusive(connection, "schedules") as is_ours:
        assert is_ours
        this_pass = schedules.run_pass()
    assert (this_pass.sent, this_pass.more) == ([], True)
    assert len(schedules.run_pass().sent) == 1


@pytest.mark.parametrize("edit", ["UPDATE django_q_schedule SET repeats = 0", "DELETE FROM django_q_schedule"])
def test_edit_while_a_slot_is_sent_is_not_overwritten(schedules, while_packing, edit: str):
    due()
    while_packing(lambda: write_elsewhere(edit))
    this_pass = schedules.run_pass()
    assert (this_pass.sent, this_pass.broken, this_pass.more) == ([], [], True)
    assert schedules.run_pass().sent == []
    assert [schedule.repeats for schedule in Schedule.objects.all()] in ([0], [])


def test_many_due_schedules_are_sent_in_several_transactions(broker, schedules):
    for _ in range(120):
        due()
    passes = [schedules.run_pass()]
    while passes[-1].more:
        passes.append(schedules.run_pass())
    assert [len(each.sent) for each in passes] == [50, 50, 20]
    assert broker.queue_size() == 120
