"""On MariaDB with utf8mb3, characters outside of it are saved as escapes, and nothing is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Batch, Schedule, Task
from django_q.schedules.due import DueSchedules
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.ids import member_id, new_id
from django_q.wire.package import new_package

from tests.databases import OneDatabase, reachable

CAT = "\U0001f408"


def fail(text):
    raise ValueError(text)


@pytest.fixture(scope="module")
def entry(mariadb_server, django_db_setup, django_db_blocker):
    mariadb_server.start()
    entry = mariadb_server.fresh_database()
    with mariadb_server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {entry['NAME']} CHARACTER SET utf8mb3")
    with django_db_blocker.unblock(), reachable("utf8mb3", entry) as alias:
        call_command("migrate", "django_q", database=alias, verbosity=0)
    return entry


@pytest.fixture(params=["utf8mb4", "utf8mb3"], autouse=True)
def small(request, entry, settings, django_db_blocker):
    """All models are there; the connection has either character set."""
    database = entry | {"OPTIONS": {"charset": request.param}}
    with django_db_blocker.unblock(), reachable("utf8mb3", database) as alias:
        settings.DATABASE_ROUTERS = [OneDatabase(alias)]
        yield
        for model in (Task, Schedule, Batch):
            model.objects.all().delete()


@pytest.fixture
def broker():
    broker = MemoryBroker("utf8mb3", settings=current_settings())
    yield broker
    broker.delete_queue()


def finish(broker, *packages) -> None:
    executor = Executor(broker.settings)
    Finisher(broker.settings, broker).finish([executor.execute(package) for package in packages])


def test_success_and_failure_with_any_label(broker) -> None:
    labels = {"name": f"name {CAT}", "group": f"group {CAT}"}
    finish(broker, new_package("copy.copy", (CAT,), **labels), new_package(fail, (CAT,), **labels))
    success, failure = Task.objects.order_by("-success")
    assert (success.success, success.result, success.args) == (True, CAT, (CAT,))
    assert (failure.success, CAT in failure.result) == (False, True)
    assert {task.group for task in (success, failure)} == {f"group {CAT}".encode("ascii", "backslashreplace").decode()}
    assert Task.get_task(f"name {CAT}") is not None
    assert Task.get_group_count(f"group {CAT}") == 2


def test_iter_with_any_label(broker) -> None:
    iter_id = new_id()
    options = {"iter_options": {"task_name": CAT, "group": CAT}, "iter_count": 2, "iter_cached": False, "cached": True}
    for n in range(2):
        member = {"id": member_id(iter_id, n), "group": iter_id}
        finish(broker, new_package("copy.copy", (CAT,)) | options | member)
    assert Task.objects.get(pk=iter_id).result == [CAT, CAT]


def test_schedule_that_fails_with_any_text(broker) -> None:
    made = Schedule.objects.create(name="cat", func="math.floor", args="1.5", schedule_type="H")
    broken = Schedule.objects.create(name="dog", func="math.floor", schedule_type="H")
    schedules = DueSchedules(broker.settings, broker)
    play = schedules._process_slot

    def fail_for_one(schedule, *more):
        if schedule.pk == broken.pk:
            fail(CAT)
        play(schedule, *more)

    schedules._process_slot = fail_for_one
    sent = schedules.run_pass(timezone.now() + timedelta(seconds=1)).sent
    assert [schedule.pk for schedule, _ in sent] == [made.pk]
    broken.refresh_from_db()
    assert "\\U0001f408" in broken.last_error
    (delivery,) = broker.dequeue_many(9, 0)
    finish(broker, PackageCodec.of(broker.settings).loads(delivery.package))
    assert Task.objects.get().success
