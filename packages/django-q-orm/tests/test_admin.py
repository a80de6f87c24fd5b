from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.settings import ClusterSettings, current_settings
from django_q.wire.codec import PackageCodec
from django_q.wire.package import new_package
from django_q_orm.admin import QueueAdmin
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
    assert {"id", "key", "task_id", "name", "func", "lock"} <= {*admin.site._registry[OrmQ].list_display}


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
    settings.DEBUG = True
    settings.USE_TZ = False
    broker = ORM("test", settings=ClusterSettings.from_mapping({"orm": "default"}))
    broker.enqueue("package", delay=7200)
    row = OrmQ.objects.get()
    now = timezone.now() - timedelta(seconds=1)
    data = {"key": "test", "lock_0": now.date().isoformat(), "lock_1": now.time().isoformat("seconds")}
    admin_client.post(reverse("admin:django_q_orm_ormq_change", args=[row.pk]), data)
    assert [each.package for each in broker.dequeue_many(1, 0)] == ["package"]


def test_changing_a_row_writes_only_what_was_changed(admin_client, settings, waiting: OrmQ) -> None:
    settings.DEBUG = True
    OrmQ.objects.update(lease="somebody", payload="newer")
    later = timezone.now() + timedelta(days=1)
    data = {"key": "test", "lock_0": later.date().isoformat(), "lock_1": "12:00:00"}
    admin_client.post(reverse("admin:django_q_orm_ormq_change", args=[waiting.pk]), data)
    waiting.refresh_from_db()
    assert waiting.lock.date() == later.date()
    assert (waiting.lease, waiting.payload) == ("somebody", "newer")


def test_row_is_deleted(admin_client, settings, waiting: OrmQ) -> None:
    settings.DEBUG = True
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


# states, dead letters and permissions


@pytest.fixture
def dead(waiting: OrmQ) -> OrmQ:
    """Dead letter of the queue `test`."""
    return OrmQ.objects.create(key="test-dead", payload="unreadable")


def staff(client, *codenames: str):
    """Log in a user with some permissions."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def choose(client, action: str, *rows: OrmQ) -> str:
    """Run an action for rows; return the messages of the page."""
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(reverse(CHANGELIST), data, follow=True).content.decode()


def test_list_shows_states_and_reasons(admin_client, dead: OrmQ) -> None:
    broker = ORM("test")
    broker.enqueue("delayed", delay=3600)
    assert broker.dequeue_many(1, 0)  # the one that waits
    broker.enqueue("waits")
    page = admin_client.get(reverse(CHANGELIST)).content.decode()
    for state in ("waiting", "delayed", "leased", "dead letter"):
        assert f'<td class="field-state">{state}</td>' in page
    assert "UnreadablePackage: Package with a foreign signature" in page


def test_dead_letters_are_filtered(admin_client, waiting: OrmQ, dead: OrmQ) -> None:
    for value, row in (("1", dead), ("0", waiting)):
        assert [*admin_client.get(reverse(CHANGELIST), {"dead": value}).context["cl"].result_list] == [row]


def test_list_executes_no_count_and_no_distinct(admin_client, waiting: OrmQ) -> None:
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(reverse(CHANGELIST), {"key": "test"})
    statements = " ".join(query["sql"].upper() for query in queries.captured_queries)
    assert "COUNT(" not in statements
    assert "DISTINCT" not in statements


def test_rows_are_changed_and_deleted_with_debug_only(admin_client, waiting: OrmQ) -> None:
    change = reverse("admin:django_q_orm_ormq_change", args=[waiting.pk])
    assert "_save" not in admin_client.get(change).content.decode()
    assert admin_client.post(change, {"key": "other"}).status_code == 403
    delete = reverse("admin:django_q_orm_ormq_delete", args=[waiting.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    choose(admin_client, "delete_selected", waiting)
    assert OrmQ.objects.get().key == "test"


def test_dead_letter_is_requeued(client, waiting: OrmQ, dead: OrmQ) -> None:
    client = staff(client, "view_ormq", "requeue_ormq")
    assert "1 dead letter is queued again." in choose(client, "requeue_dead_letters", waiting, dead)
    assert sorted(row.payload for row in OrmQ.objects.filter(key="test")) == sorted([waiting.payload, "unreadable"])
    assert not OrmQ.objects.filter(key="test-dead").exists()
    assert LogEntry.objects.get().change_message == "Requeued."


def test_dead_letter_is_deleted_and_other_rows_stay(client, waiting: OrmQ, dead: OrmQ) -> None:
    client = staff(client, "view_ormq", "delete_ormq")
    assert "1 dead letter is deleted." in choose(client, "delete_dead_letters", waiting, dead)
    assert OrmQ.objects.get() == waiting
    assert LogEntry.objects.get().change_message == "Deleted."


def test_user_with_view_permission_changes_no_dead_letter(client, dead: OrmQ) -> None:
    client = staff(client, "view_ormq", "change_ormq")
    for action in ("requeue_dead_letters", "delete_dead_letters", "delete_selected"):
        choose(client, action, dead)
    assert (OrmQ.objects.filter(key="test-dead").count(), LogEntry.objects.count()) == (1, 0)


def test_page_shows_arguments_in_python_notation(admin_client, waiting: OrmQ) -> None:
    page = admin_client.get(reverse("admin:django_q_orm_ormq_change", args=[waiting.pk])).content.decode()
    assert '<pre tabindex="0">(1.5,)</pre>' in page


def test_page_unpickles_nothing_of_the_project(admin_client, waiting: OrmQ) -> None:
    package = new_package("math.floor", (Exits(),), {"x": Unprintable()})
    row = OrmQ.objects.create(key="test", payload=PackageCodec.of(current_settings()).dumps(package))
    page = admin_client.get(reverse("admin:django_q_orm_ormq_change", args=[row.pk])).content.decode()
    assert "cannot be read" not in page
    assert f"{Unprintable.__module__}.Unprintable(…)" in page


def test_unavailable_database_is_a_message(admin_client, waiting: OrmQ) -> None:
    def refuse(execute, sql, params, many, context):
        if "django_q_ormq" in sql:
            raise OperationalError("server closed the connection")
        return execute(sql, params, many, context)

    for address in (reverse(CHANGELIST), reverse("admin:django_q_orm_ormq_change", args=[waiting.pk])):
        with connection.execute_wrapper(refuse):
            response = admin_client.get(address)
        assert response.url == reverse("admin:index")
        assert "server closed the connection" in admin_client.get(response.url).content.decode()


def test_page_is_customized_as_the_others() -> None:
    class Child(QueueAdmin):
        list_display = ("id", "key", "lock")

    assert not Child(OrmQ, admin.site).check()
