from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from django_q.settings import ClusterSettings, current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package
from django_q_orm.broker import ORM
from django_q_orm.models import OrmQ

pytestmark = pytest.mark.django_db
CHANGELIST = "admin:django_q_orm_ormq_changelist"


@pytest.fixture(autouse=True)
def _orm(settings) -> None:
    settings.Q_CLUSTER = {"name": "test", "orm": "default"}


@pytest.fixture
def waiting() -> OrmQ:
    package = new_package("math.floor", (1.5,), group="a group")
    payload = PackageCodec.of(current_settings()).dumps(package)
    return OrmQ.objects.create(key="test", payload=payload, lock=timezone.now())


def test_list_has_the_columns_of_the_public_edition() -> None:
    assert admin.site._registry[OrmQ].list_display == ("id", "key", "task_id", "name", "func", "lock")


def test_list_and_page_show_the_package(admin_client, waiting: OrmQ) -> None:
    for url in (reverse(CHANGELIST), reverse("admin:django_q_orm_ormq_change", args=[waiting.pk])):
        assert waiting.task_id() in admin_client.get(url).content.decode()


def test_unreadable_package_does_not_break_the_list(admin_client, waiting: OrmQ) -> None:
    OrmQ.objects.create(key="test", payload="nonsense")
    page = admin_client.get(reverse(CHANGELIST)).content.decode()
    assert "*BadSignature" in page
    assert waiting.task_id() in page


def test_packages_are_never_added(admin_client) -> None:
    assert admin_client.get(reverse("admin:django_q_orm_ormq_add")).status_code == 403


@pytest.mark.skipif(connection.features.supports_timezones, reason="the database has time zones")
def test_changed_lock_decides_in_local_time(admin_client, settings) -> None:
    settings.USE_TZ = False
    broker = ORM("test", settings=ClusterSettings.from_mapping({"orm": "default"}))
    broker.enqueue("package", delay=7200)
    row = OrmQ.objects.get()
    now = timezone.now() - timedelta(seconds=1)
    data = {"key": "test", "lock_0": now.date().isoformat(), "lock_1": now.time().isoformat("seconds")}
    admin_client.post(reverse("admin:django_q_orm_ormq_change", args=[row.pk]), data)
    assert [each.package for each in broker.dequeue_many(1, 0)] == ["package"]


def test_changing_a_row_writes_only_what_was_changed(admin_client, waiting: OrmQ) -> None:
    OrmQ.objects.update(lease="somebody", payload="newer")
    later = timezone.now() + timedelta(days=1)
    data = {"key": "test", "lock_0": later.date().isoformat(), "lock_1": "12:00:00"}
    admin_client.post(reverse("admin:django_q_orm_ormq_change", args=[waiting.pk]), data)
    waiting.refresh_from_db()
    assert waiting.lock.date() == later.date()
    assert (waiting.lease, waiting.payload) == ("somebody", "newer")


def test_row_is_deleted(admin_client, waiting: OrmQ) -> None:
    admin_client.post(reverse("admin:django_q_orm_ormq_delete", args=[waiting.pk]), {"post": "yes"})
    assert not OrmQ.objects.exists()


@pytest.mark.parametrize(("orm", "listed"), [("default", True), (None, False)])
def test_index_lists_it_only_while_the_database_is_the_broker(admin_client, settings, orm, listed: bool) -> None:
    settings.Q_CLUSTER = {"name": "test", "orm": orm}
    assert (reverse(CHANGELIST) in admin_client.get(reverse("admin:index")).content.decode()) is listed


class Exits:
    """An argument that exits when it is unpickled."""

    def __reduce__(self):
        return exit, (1,)


class Unprintable:
    """An argument whose text exits."""

    def __repr__(self) -> str:
        raise SystemExit(1)


@pytest.mark.parametrize("value", [Exits(), Unprintable(), "caf\udce9", "x" * 3_000_000], ids=lambda each: type(each))
def test_pages_show_any_argument(admin_client, waiting: OrmQ, value) -> None:
    package = new_package("math.floor", (value,), {"x": value}, group="g")
    row = OrmQ.objects.create(key="test", payload=PackageCodec.of(current_settings()).dumps(package))
    page = admin_client.get(reverse(CHANGELIST)).content.decode()
    assert page.count("math.floor") == 2  # the list reads no arguments
    response = admin_client.get(reverse("admin:django_q_orm_ormq_change", args=[row.pk]))
    assert response.status_code == 200
    assert package["id"] in response.content.decode()
