"""The admin's pages of tracked tasks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.models import Command, Record, Status
from django_q.records import attempts
from django_q.wire.outcome import encode

pytestmark = pytest.mark.django_db

LIST = "admin:django_q_record_changelist"


def make(letter: str = "a", **columns: object) -> Record:
    columns = {"name": f"name-{letter}", "func": "math.floor", "queue": "test", "enqueued_at": timezone.now()} | columns
    return Record.objects.create(id=letter * 32, **columns)


def page_of(client, record: Record):
    return client.get(address(record))


def address(record: Record) -> str:
    return reverse("admin:django_q_record_change", args=[record.pk])


def staff(client, *codenames: str):
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


@pytest.mark.parametrize("status", Status.values)
def test_list_and_page_show_each_status(admin_client, status) -> None:
    record = make(status=status, arguments=encode((("1", 2), {"x": 3})), result=encode(["y"]))
    for text in (admin_client.get(reverse(LIST)).content.decode(), page_of(admin_client, record).content.decode()):
        assert str(Status(status).label) in text


def test_page_shows_arguments_result_and_attempts(admin_client) -> None:
    start = timezone.now()
    first = attempts.entry(1, "worker-7", start)
    text = 'Traceback (most recent call last):\n  File "/srv/a.py", line 1, in f\nValueError: no'
    first = attempts.ended(first, start, duration=1.5, exception_class="builtins.ValueError", traceback=text)
    second = attempts.entry(2, "worker-8", start + timedelta(seconds=9))
    record = make(arguments=encode((("1", 2), {"x": 3})), result=encode(["y"]), attempts=[first, second])
    page = page_of(admin_client, record).content.decode()
    for expected in (
        "(&#x27;1&#x27;, 2)",
        "{&#x27;x&#x27;: 3}",
        "[&#x27;y&#x27;]",
        "worker-7",
        "worker-8",
        "1.5 seconds",
    ):
        assert expected in page
    assert "  File &quot;/srv/a.py&quot;, line 1, in f\nValueError: no" in page
    assert "_save" not in page


def test_record_is_found_by_its_id(admin_client) -> None:
    make("a")
    make("b")
    found = admin_client.get(reverse(LIST), {"q": "a" * 32}).context["cl"].result_list
    assert [record.pk for record in found] == ["a" * 32]


def test_records_are_filtered_by_status(admin_client) -> None:
    make("a", status=Status.RUNNING)
    make("b")
    for query, count in (({"status__exact": "running"}, 1), ({"status__exact": ""}, 2)):
        assert len(admin_client.get(reverse(LIST), query).context["cl"].result_list) == count


def test_list_executes_no_count_and_reads_no_arguments(admin_client) -> None:
    make(arguments="large")
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(reverse(LIST))
    statements = [
        query["sql"].upper() for query in queries.captured_queries if "DJANGO_Q_RECORD" in query["sql"].upper()
    ]
    assert statements
    assert not [each for each in statements if "COUNT(" in each or "DISTINCT" in each or '"ARGUMENTS"' in each]


@pytest.mark.parametrize(
    "columns",
    [
        {"arguments": "no pickle", "result": "no pickle"},
        {"arguments": encode(5)},
        {"backend": "default", "arguments": "{", "result": "{"},
        {"attempts": ["a text", {"number": None, "traceback": "<script>alert(1)</script>"}]},
        {"attempts": {"not": "a list"}},
        {"name": "<script>alert(1)</script>", "group": "\N{SNOWMAN}" * 50},
        {"result": encode("x" * 2_000_000)},
    ],
)
def test_any_row_is_shown(admin_client, columns) -> None:
    record = make(**columns)
    for response in (admin_client.get(reverse(LIST)), page_of(admin_client, record)):
        assert response.status_code == 200
        assert len(response.content) < 200_000
        assert "<script>alert(1)" not in response.content.decode()


def test_large_result_is_downloaded(admin_client) -> None:
    make(result=encode("x" * 100_000))
    response = admin_client.get(reverse("admin:django_q_record_value", args=["a" * 32, "return_value"]))
    assert response.content.decode() == repr("x" * 100_000)


# cancelling


def test_waiting_task_is_cancelled_by_the_button(client) -> None:
    record = make()
    client = staff(client, "view_record", "cancel_record")
    assert "Cancel task" in page_of(client, record).content.decode()
    page = client.post(address(record), {"_cancel": "1"}, follow=True).content.decode()
    record.refresh_from_db()
    assert (record.status, Command.objects.get().target) == (Status.CANCELLED, record.pk)
    assert "1 task is cancelled." in page
    assert LogEntry.objects.get().change_message == "Cancelled."


def test_tasks_are_cancelled_by_the_action(admin_client) -> None:
    chosen = [make("a").pk, make("b", status=Status.SUCCEEDED).pk]
    data = {"action": "cancel_tasks", "_selected_action": chosen}
    page = admin_client.post(reverse(LIST), data, follow=True).content.decode()
    assert "1 task is cancelled." in page
    assert "1 task has ended before." in page
    assert LogEntry.objects.get().object_id == chosen[0]


def test_task_is_not_cancelled_if_the_log_is_unavailable(admin_client) -> None:
    make("a")
    make("b")
    entries = []

    def refuse(execute, sql, params, many, context):
        if sql.startswith("INSERT") and "django_admin_log" in sql:
            entries.append(params)
            if len(entries) > 1:
                raise OperationalError("server closed the connection")
        return execute(sql, params, many, context)

    data = {"action": "cancel_tasks", "_selected_action": [letter * 32 for letter in "ab"]}
    with connection.execute_wrapper(refuse):
        response = admin_client.post(reverse(LIST), data)
    page = admin_client.get(response.url).content.decode()
    assert "1 task is cancelled." in page
    assert "server closed the connection" in page
    assert Record.objects.filter(status=Status.CANCELLED).count() == 1
    assert Command.objects.count() == LogEntry.objects.count() == 1


def test_finished_task_has_no_button(admin_client) -> None:
    record = make(status=Status.FAILED)
    assert "_cancel" not in page_of(admin_client, record).content.decode()
    assert admin_client.post(address(record), {"_cancel": "1"}).status_code == 403


def test_user_without_the_permission_cannot_cancel(client) -> None:
    record = make()
    client = staff(client, "view_record", "change_record", "delete_record")
    assert "_cancel" not in page_of(client, record).content.decode()
    assert client.post(address(record), {"_cancel": "1"}).status_code == 403
    client.post(reverse(LIST), {"action": "cancel_tasks", "_selected_action": [record.pk]})
    record.refresh_from_db()
    assert (record.status, Command.objects.count(), LogEntry.objects.count()) == (Status.QUEUED, 0, 0)


def test_records_are_neither_changed_nor_deleted(admin_client) -> None:
    record = make()
    assert admin_client.post(address(record), {"name": "other", "_save": "1"}).status_code == 403
    assert (
        admin_client.post(reverse("admin:django_q_record_delete", args=[record.pk]), {"post": "yes"}).status_code == 403
    )
    assert admin_client.get(reverse("admin:django_q_record_add")).status_code == 403
    assert Record.objects.get().name == "name-a"
