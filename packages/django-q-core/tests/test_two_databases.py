"""A router that puts tasks and schedules in different databases changes no behaviour."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.urls import reverse
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.models import Batch, BatchMember, Failure, Schedule, Success, Task
from django_q.schedules.due import DueSchedules
from django_q.settings import current_settings
from django_q.tasks import schedule
from django_q.wire.codec import PackageCodec
from django_q.wire.ids import member_id, new_id
from django_q.wire.package import new_package

from tests.databases import reachable, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLACES = {"task": "tasks", "schedule": "schedules", "batch": "batches", "batchmember": "batches"}
DATABASES = ("tasks", "schedules", "batches", "others")


class Router:
    """Router that chooses the database by the name of the model; proxies follow their table."""

    def db_for_read(self, model, **hints) -> str:
        return PLACES.get(model._meta.concrete_model._meta.model_name, "others")

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, model_name=None, **hints) -> bool:
        return model_name is None or PLACES.get(model_name, "others") == db


@contextmanager
def all_reachable(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        for alias in DATABASES:
            stack.enter_context(reachable(alias, sqlite(folder / alias)))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, django_db_setup, django_db_blocker) -> Path:
    """Addresses of the databases, each of which was migrated."""
    folder = tmp_path_factory.mktemp("databases")
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch, all_reachable(folder):
        patch.setattr("django.db.router.routers", [Router()])
        for alias in DATABASES:
            call_command("migrate", database=alias, verbosity=0)
    return folder


@pytest.fixture(autouse=True)
def routed(folder, settings, django_db_blocker) -> Iterator[None]:
    with django_db_blocker.unblock(), all_reachable(folder):
        settings.DATABASE_ROUTERS = [Router()]
        yield
        for model in (Task, Schedule, Batch, User):
            model.objects.all().delete()
        settings.DATABASE_ROUTERS = []


@pytest.fixture
def client(client):
    client.force_login(User.objects.create_superuser("admin"))
    return client


@pytest.fixture
def broker():
    broker = MemoryBroker("two", settings=current_settings())
    yield broker
    broker.delete_queue()


def finish(broker, *packages) -> None:
    executor = Executor(broker.settings)
    Finisher(broker.settings, broker).finish([executor.execute(package) for package in packages])


def test_each_database_has_its_tables() -> None:
    tables = {alias: set(connections[alias].introspection.table_names()) for alias in DATABASES}
    for model in (Task, Schedule, Batch, BatchMember):
        name = model._meta.db_table
        assert [alias for alias, names in tables.items() if name in names] == [PLACES[model._meta.model_name]]


@pytest.mark.parametrize("overlap", [True, False])
def test_schedule_and_its_task(broker, overlap, client) -> None:
    made = schedule("math.floor", 1.5, name="one", schedule_type="I", minutes=1, overlap=overlap)
    assert len(DueSchedules(broker.settings, broker).run_pass(timezone.now()).sent) == 1
    (delivery,) = broker.dequeue_many(1, 0)
    finish(broker, PackageCodec.of(broker.settings).loads(delivery.package))
    made.refresh_from_db()
    assert (made.waiting_for, made.success()) == (None, True)
    made.waiting_for = made.task
    assert not DueSchedules(broker.settings, broker).overlap.is_waiting(made)
    page = client.get(reverse("admin:django_q_schedule_changelist")).content.decode()
    assert reverse("admin:django_q_success_change", args=[made.task]) in page
    assert client.get(reverse("admin:django_q_schedule_change", args=[made.pk])).status_code == 200


@pytest.mark.parametrize("model", [Success, Failure])
def test_pages_of_tasks(broker, client, model) -> None:
    finish(broker, *(new_package("math.floor", ("x" if model is Failure else 1.5,), name="mine") for _ in range(2)))
    name = model._meta.model_name
    pk = Task.objects.first().pk
    assert "mine" in client.get(reverse(f"admin:django_q_{name}_changelist")).content.decode()
    assert client.get(reverse(f"admin:django_q_{name}_change", args=[pk])).status_code == 200
    answer = client.post(reverse(f"admin:django_q_{name}_delete", args=[pk]), {"post": "yes"})
    assert (answer.status_code, Task.objects.count()) == (302, 1)
    chosen = {"action": "delete_selected", "_selected_action": [Task.objects.get().pk], "post": "yes"}
    client.post(reverse(f"admin:django_q_{name}_changelist"), chosen)
    assert not Task.objects.exists()


def test_members_and_collated_result(broker) -> None:
    iter_id = new_id()
    options = {"iter_count": 2, "group": iter_id, "iter_options": {}, "iter_cached": False, "cached": True}
    for n in range(2):
        finish(broker, new_package("math.floor", (n + 0.5,)) | options | {"id": member_id(iter_id, n)})
    assert Task.objects.get(pk=iter_id).result == [0, 1]
