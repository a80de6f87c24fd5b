"""Maintenance of records: lost attempts end, and old records are deleted."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.models import Record, Status
from django_q.records import maintenance as module
from django_q.records.attempts import LOST_CLASS, ended, entry
from django_q.records.maintenance import RecordMaintenance
from django_q.settings import ClusterSettings

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def maintenance(*, supports_receipts: bool = True, **settings: object) -> RecordMaintenance:
    chosen = ClusterSettings(name="own", **settings)
    broker = MemoryBroker(settings=chosen)
    broker.supports_receipts = supports_receipts
    return RecordMaintenance(chosen, broker)


def add(number: int, status: str, *, age: float = 0, **more: object) -> Record:
    """Save a record that finished *age* seconds ago."""
    finished = NOW - timedelta(seconds=age) if status in ("succeeded", "failed", "cancelled") else None
    columns = {"name": "n", "func": "f", "queue": "own", "enqueued_at": NOW, "finished_at": finished, **more}
    return Record.objects.create(id=f"{number:032}", status=status, **columns)


def numbers(**lookups: object) -> list[int]:
    return sorted(int(pk) for pk in Record.objects.filter(**lookups).values_list("pk", flat=True))


def test_expired_lease_ends_the_attempt() -> None:
    attempts = [entry(1, "worker", NOW)]
    lost = add(1, "running", lease_ends_at=NOW - timedelta(seconds=1), attempts=attempts)
    add(2, "running", lease_ends_at=NOW + timedelta(seconds=9), attempts=attempts)
    assert maintenance().end_lost(NOW) == 1
    lost.refresh_from_db()
    assert (lost.status, lost.lease_ends_at, lost.finished_at) == (Status.RETRYING, None, None)
    assert [each["exception_class"] for each in lost.attempts] == [LOST_CLASS]
    assert numbers(status="running") == [2]


def test_broker_without_receipts_has_lost_the_task() -> None:
    add(1, "running", lease_ends_at=NOW, attempts=[entry(1, "worker", NOW)])
    add(2, "running", lease_ends_at=NOW, attempts=[entry(1, "worker", NOW)], queue="of another cluster")
    maintenance(supports_receipts=False).end_lost(NOW)
    assert (numbers(status="failed"), numbers(status="retrying")) == ([1], [2])


def test_attempt_that_has_ended_is_kept() -> None:
    first = ended(entry(1, "worker", NOW), NOW, exception_class="builtins.KeyError", traceback="text")
    record = add(1, "running", lease_ends_at=NOW, attempts=[first, entry(2, "worker", NOW)])
    maintenance().end_lost(NOW)
    record.refresh_from_db()
    assert [each["exception_class"] for each in record.attempts] == ["builtins.KeyError", LOST_CLASS]


def test_old_records_are_deleted() -> None:
    for number, status in enumerate(("succeeded", "failed", "cancelled", "queued", "running", "retrying")):
        add(number, status, age=11)
        add(number + 10, status, age=9)
    maintenance(keep_records=10).prune(NOW)
    assert numbers() == [3, 4, 5, *range(10, 16)]


def test_each_state_has_its_maximum() -> None:
    for number in range(5):
        add(number, "succeeded", age=number)
        add(number + 10, "failed", age=number)
    maintenance(max_records=2).prune(NOW)
    assert numbers() == [0, 1, 10, 11]


def test_limits_may_be_switched_off() -> None:
    for number in range(5):
        add(number, "succeeded", age=10**8 + number)
    maintenance(keep_records=0, max_records=0).prune(NOW)
    assert len(numbers()) == 5


def test_large_surplus_is_deleted_in_several_steps(monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_DELETED_ROWS", 2)
    monkeypatch.setattr(module, "MAX_STATEMENTS", 2)
    for number in range(9):
        add(number, "succeeded", age=number)
    job = maintenance(max_records=1)
    steps = 1
    while job.prune(NOW):
        steps += 1
    assert numbers() == [0]
    assert steps > 1


def test_idle_check_is_rare(monkeypatch, django_assert_num_queries) -> None:
    clock = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    job = maintenance()
    with django_assert_num_queries(2 + 5):
        for _ in range(60):
            job.step()
            clock.seconds += 1
    add(1, "running", lease_ends_at=NOW, attempts=[entry(1, "worker", NOW)])
    for _ in range(11):
        job.step()
        clock.seconds += 1
    assert numbers(status="retrying") == [1]
