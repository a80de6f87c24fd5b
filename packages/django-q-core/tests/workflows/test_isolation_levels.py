"""Conflicting transactions are repeated at each isolation level, and do not make the task a failure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.databases.errors import is_unavailable
from django_q.models import Batch, BatchMember, Schedule, Task
from django_q.results.database import DatabaseResults
from django_q.schedules import due
from django_q.schedules.due import DueSchedules
from django_q.settings import current_settings
from django_q.wire.ids import new_id
from django_q.workflows.batches import BatchResults

from tests.databases import OneDatabase, reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLUSTERS = 3
LEVELS = [
    *(("postgres", level) for level in ("read committed", "repeatable read", "serializable")),
    *(("mariadb", level) for level in ("read committed", "repeatable read", "serializable")),
]


@pytest.fixture(scope="module")
def migrated(request, django_db_setup, django_db_blocker) -> Callable[[str], dict]:
    """Return the `DATABASES` entry of a migrated database of a product."""
    made: dict[str, dict] = {}

    def database(product: str) -> dict:
        if product not in made:
            server = request.getfixturevalue(f"{product}_server")
            server.start()
            made[product] = server.fresh_database()
            with django_db_blocker.unblock(), reachable("isolation", made[product]) as alias:
                call_command("migrate", "django_q", database=alias, verbosity=0)
        return made[product]

    return database


@pytest.fixture(params=LEVELS, ids=lambda level: " ".join(level))
def level(request, migrated, settings, django_db_blocker) -> Iterator[tuple[str, str]]:
    """All models are in a database with that isolation level."""
    product, level = request.param
    strict = {"options": f"-c default_transaction_isolation={level.replace(' ', chr(92) + ' ')}"}
    options = strict if product == "postgres" else {"charset": "utf8mb4", "isolation_level": level}
    with (
        django_db_blocker.unblock(),
        reachable("isolation", migrated(product) | {"OPTIONS": options}) as alias,
    ):
        settings.DATABASE_ROUTERS = [OneDatabase(alias)]
        yield request.param
        for model in (Task, Schedule, BatchMember, Batch):
            model.objects.all().delete()


def at_once(work: Callable[[int], object]) -> list:
    """Run a function in several clusters, each with its own connection, starting together."""
    barrier = Barrier(CLUSTERS)

    def run(cluster: int) -> object:
        barrier.wait(30)
        try:
            return work(cluster)
        finally:
            connections["isolation"].close()

    with ThreadPoolExecutor(CLUSTERS) as pool:
        return list(pool.map(run, range(CLUSTERS)))


def until_saved(save: Callable[[], object]) -> object:
    """Repeat like the monitor, which backs off when the database is unavailable."""
    for _ in range(20):
        try:
            return save()
        except Exception as error:
            if not is_unavailable(error):
                raise
    raise AssertionError("never saved")


def test_results_of_several_clusters(level, outcome, settings_of) -> None:
    ids = [new_id() for _ in range(20)]
    results = DatabaseResults(settings_of(save_limit=0))
    batches = [[outcome(cluster, id=each, attempt=cluster + 1) for each in ids] for cluster in range(CLUSTERS)]
    at_once(lambda cluster: until_saved(lambda: results.save_many(batches[cluster])))
    assert set(Task.objects.values_list("success", "attempt_count")) == {(True, CLUSTERS)}
    assert Task.objects.count() == len(ids)


def test_members_of_several_clusters(level, member, settings_of) -> None:
    iters = [new_id() for _ in range(4)]

    def save(cluster: int) -> None:
        results = BatchResults(settings_of(save_limit=0), "queue")
        for part in range(3):
            some = [member(each, part * CLUSTERS + cluster, 3 * CLUSTERS, part, iter_cached=False) for each in iters]
            until_saved(lambda some=some: results.save_many(some, lambda _: True))

    at_once(save)
    assert list(Batch.objects.values_list("done", "failed")) == [(3 * CLUSTERS, 0)] * len(iters)
    assert BatchMember.objects.filter(success=False).count() == 0


def test_schedules_of_several_clusters(level) -> None:
    for number in range(10):
        Schedule.objects.create(name=str(number), func="math.floor", args="1.5", schedule_type="H")
    now = timezone.now() + timedelta(seconds=1)
    brokers = [MemoryBroker(f"isolation-{cluster}", settings=current_settings()) for cluster in range(CLUSTERS)]

    def send(cluster: int) -> int:
        schedules, sent = DueSchedules(current_settings(), brokers[cluster]), 0
        while Schedule.objects.filter(next_run__lte=now).exists():
            sent += len(until_saved(lambda: schedules.run_pass(now)).sent)
        return sent

    assert sum(at_once(send)) == 10
    assert not Schedule.objects.exclude(last_error=None).exists()
    for broker in brokers:
        broker.delete_queue()


def test_transaction_of_schedules_is_repeated_and_marks_none(level, monkeypatch) -> None:
    Schedule.objects.create(name="one", func="math.floor", args="1.5", schedule_type="H")
    broker = MemoryBroker("isolation", settings=current_settings())
    schedules, failures = DueSchedules(current_settings(), broker), [1, 2, 3]
    leave = schedules._save

    def conflict(*state) -> None:
        if failures:
            failures.pop()
            error = OperationalError(1213, "deadlock") if level[0] == "mariadb" else OperationalError("deadlock")
            error.__cause__ = type("DriverError", (Exception,), {"sqlstate": "40P01"})()
            raise error
        leave(*state)

    monkeypatch.setattr(schedules, "_save", conflict)
    assert len(schedules.run_pass(timezone.now() + timedelta(seconds=1)).sent) == 1
    assert Schedule.objects.get().last_error is None
    broker.delete_queue()


def test_conflict_in_a_queue_of_the_database_marks_no_schedule() -> None:
    cause = OperationalError(1213, "deadlock")
    unavailable = due.BrokerUnavailable("conflict")
    unavailable.__cause__ = cause
    roll_back = due.RollBack()
    roll_back.__cause__ = unavailable
    assert due.database_error_in(roll_back) is cause
    assert due.is_serialization_failure(cause)
