"""With a router that sends reads to a replica, no decision of a cluster depends on the replica."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.cluster.earlier_success import saved_success
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Batch, Schedule, Task
from django_q.schedules import synchronising
from django_q.schedules.due import DueSchedules
from django_q.schedules.synchronising import synchronise
from django_q.settings import current_settings
from django_q.tasks import schedule
from django_q.wire.codec import PackageCodec
from django_q.wire.ids import member_id, new_id
from django_q.wire.package import new_package
from django_q.workflows.batch_maintenance import BatchMaintenance
from django_q.workflows.batch_rows import new_batch

from tests.databases import reachable, sqlite

pytestmark = pytest.mark.django_db(transaction=True)


class Router:
    """Router that sends reads to an empty database, without tables."""

    def db_for_read(self, model, **hints) -> str:
        return "replica"

    def db_for_write(self, model, **hints) -> str:
        return "default"


@pytest.fixture(autouse=True)
def replica(settings, tmp_path, django_db_blocker):
    with django_db_blocker.unblock(), reachable("replica", sqlite(tmp_path / "replica.sqlite3")) as alias:
        settings.DATABASE_ROUTERS = [Router()]
        yield alias
        settings.DATABASE_ROUTERS = []


@pytest.fixture
def q():
    return replace(current_settings(), max_attempts=1)


@pytest.fixture
def broker(q):
    broker = MemoryBroker("replica", settings=q)
    yield broker
    broker.delete_queue()


def primary(model):
    return model.objects.using("default")


def queued(broker, q) -> list[dict]:
    return [PackageCodec.of(q).loads(each.package) for each in broker.dequeue_many(100, 0)]


def execute(broker, q, *packages) -> None:
    Finisher(q, broker).finish([Executor(q).execute(package) for package in packages])


def test_attempts_and_earlier_successes(broker, q) -> None:
    package = new_package("math.floor", (1.5,))
    failed = Executor(q).execute(new_package("math.floor", ("x",)) | {"id": package["id"]})
    Finisher(q, broker).finish([failed])
    Finisher(q, broker).finish([Executor(q).execute(package, attempt=2)])
    row = primary(Task).get()
    assert (row.success, row.attempt_count, row.result) == (True, 2, 1)
    assert saved_success(package, q)["result"] == 1


def test_links_of_chains(broker, q) -> None:
    package = new_package("math.floor", (1.5,))
    package["chain"] = [("math.ceil", (1.5,), {})]
    outcome = Executor(q).execute(package)
    Finisher(q, broker).follow([outcome])
    (link,) = queued(broker, q)
    execute(broker, q, link)
    Finisher(q, broker).follow([outcome])
    assert queued(broker, q) == []


def test_batches(broker, q) -> None:
    iter_id, now = new_id(), timezone.now()
    options = {"iter_count": 2, "group": iter_id, "iter_options": {}, "iter_cached": False, "cached": True}
    members = [new_package("math.floor", (n + 0.5,)) | options | {"id": member_id(iter_id, n)} for n in range(2)]
    for member in members:
        execute(broker, q, member)
    assert primary(Task).get(pk=iter_id).result == [0, 1]
    assert saved_success(members[0], q)["success"]
    batch = new_batch(
        new_id(), 2, func="math.floor", cached=None, options={}, started=now, cluster="test", queue="replica", due=now
    )
    batch.save(using="default")
    primary(Batch).filter(pk=batch.pk).update(updated=now - 20 * (now - now), due=now)
    maintenance = BatchMaintenance(q, broker)
    maintenance.grace_ends_at = now
    maintenance.maintain(timezone.now())
    assert primary(Batch).get(pk=batch.pk).completed


@pytest.mark.parametrize("overlap", [True, False])
def test_schedules(broker, q, overlap) -> None:
    made = schedule("math.floor", 1.5, name="one", schedule_type="I", minutes=1, overlap=overlap)
    schedules = DueSchedules(q, broker)
    assert len(schedules.run_pass(timezone.now()).sent) == 1
    (package,) = queued(broker, q)
    schedules.overlap.is_waiting(primary(Schedule).get(pk=made.pk))
    execute(broker, q, package)
    assert primary(Schedule).get(pk=made.pk).waiting_for is None


def test_declared_schedules(q, monkeypatch) -> None:
    monkeypatch.setattr(synchronising, "modules", lambda: ())
    for minutes, done in ((1, "created"), (2, "updated")):
        entry = {"name": "declared", "func": "math.floor", "args": (1.5,), "schedule_type": "I", "minutes": minutes}
        changes = synchronise(replace(q, schedules=[entry]))
        assert getattr(changes, done) == ["declared"], changes
    assert primary(Schedule).get().minutes == 2
    assert synchronise(replace(q, schedules=[])).removed == ["declared"]


def test_name_of_a_schedule_is_taken_where_it_is_written() -> None:
    schedule("math.floor", 1.5, name="one")
    with pytest.raises(Exception, match="A schedule named"):
        schedule("math.floor", 1.5, name="one")
