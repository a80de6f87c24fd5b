"""Lists and pages of finished tasks, for staff who read them and for lists of any length."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q import admin as q_admin
from django_q.admin.pagination import MAX_LISTED_ROWS
from django_q.admin.values import MAX_SHOWN_CHARACTERS
from django_q.brokers import get_broker
from django_q.models import Failure, Record, Success, Task
from django_q.tasks import async_task

pytestmark = pytest.mark.django_db

TRACEBACK = """no such part : Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/celestial/engine.py", line 4, in run
    call()
  File "/srv/shop/orders.py", line 12, in ship
    raise LookupError("no such part")
LookupError: no such part"""


class Unreadable:
    """Value whose class fails when it is unpickled."""

    def __reduce__(self):
        return int, ("not a number",)


def save(letter: str, **columns: object) -> Task:
    now = timezone.now()
    columns = {"name": f"name-{letter}", "func": "math.floor", "started": now, "stopped": now} | columns
    return Task.objects.create(id=(letter * 32)[:32], **columns)


def listed(client, model: str, **query: str):
    return client.get(reverse(f"admin:django_q_{model}_changelist"), query)


def ids(response) -> list[str]:
    return [task.pk[0] for task in response.context["cl"].result_list]


def page_of(client, task: Task):
    model = "success" if task.success else "failure"
    return client.get(reverse(f"admin:django_q_{model}_change", args=[task.pk]))


def user_with(client, *codenames: str):
    """Log in a user with some permissions."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


# lists


def test_list_shows_seconds_attempts_and_worker(admin_client) -> None:
    at = timezone.now().replace(microsecond=0)
    save("a", started=at, stopped=at + timedelta(seconds=5), attempt_count=2)
    attempt = {"number": 2, "worker": "worker-7", "duration": 3.25, "finished_at": None}
    times = {"enqueued_at": at, "last_attempted_at": at + timedelta(seconds=1.5)}
    Record.objects.create(id="a" * 32, name="a", func="f", queue="q", attempts=[attempt], **times)
    page = listed(admin_client, "success").content.decode()
    for text in (f"{at:%Y-%m-%d %H:%M:%S}", "worker-7", ">3.25<", ">1.5<", ">5.0<", "field-attempt_count"):
        assert text in page


@pytest.mark.parametrize("term", ["a" * 32, "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", f" {'a' * 32} "])
@pytest.mark.parametrize("model", ["success", "failure"])
def test_task_is_found_by_its_id(admin_client, model, term) -> None:
    save("a", success=model == "success")
    save("b", success=model == "success")
    assert ids(listed(admin_client, model, q=term)) == ["a"]


@pytest.mark.parametrize("term", ["such part", "Zoë's ünits", "orders.py"])
@pytest.mark.parametrize("offset", range(3))
def test_failure_is_found_by_its_error(admin_client, term, offset) -> None:
    save("a", success=False, result="x" * offset + TRACEBACK + " Zoë's ünits")
    save("b", success=False, result="another reason")
    assert ids(listed(admin_client, "failure", q=term)) == ["a"]


def test_failure_is_still_found_by_its_name(admin_client) -> None:
    save("a", success=False, result="name-b")
    save("b", success=False, result="nothing")
    assert sorted(ids(listed(admin_client, "failure", q="name-b"))) == ["a", "b"]


@pytest.mark.parametrize("field", ["group", "cluster"])
def test_filters_stay_small_and_keep_the_search(admin_client, field) -> None:
    for number in range(30):
        save(f"{number:02}" * 16, **{field: f"label-{number}"})
    response = listed(admin_client, "success", q="n", **{field: "label-17"})
    page = response.content.decode()
    assert [getattr(task, field) for task in response.context["cl"].result_list] == ["label-17"]
    assert "label-18" not in page
    assert '<input type="hidden" name="q" value="n">' in page


def test_filter_with_a_nul_finds_nothing(admin_client) -> None:
    save("a")
    assert ids(listed(admin_client, "success", group="a\0b")) == []


@pytest.mark.parametrize("model", ["success", "failure"])
def test_list_executes_no_count_and_no_distinct(admin_client, model) -> None:
    save("a", success=model == "success")
    with CaptureQueriesContext(connection) as queries:
        assert ids(listed(admin_client, model)) == ["a"]
    statements = " ".join(query["sql"].upper() for query in queries.captured_queries)
    assert "DJANGO_Q_TASK" in statements
    assert "COUNT(" not in statements
    assert "DISTINCT" not in statements


def test_list_of_many_rows_shows_the_last_ones(admin_client) -> None:
    now = timezone.now()
    Task.objects.bulk_create(
        Task(id=f"{number:032}", name=f"n{number}", func="f", started=now, stopped=now + timedelta(seconds=number))
        for number in range(MAX_LISTED_ROWS + 10)
    )
    response = listed(admin_client, "success")
    assert response.context["cl"].result_list[0].name == f"n{MAX_LISTED_ROWS + 9}"
    assert f"more than {MAX_LISTED_ROWS}" in response.content.decode()


def test_list_of_failures_unpickles_nothing(admin_client) -> None:
    save("a", success=False, result=Recorder())
    save("b", success=False, result="the reason", stopped=timezone.now() + timedelta(1))
    page = listed(admin_client, "failure").content.decode()
    assert ("the reason" in page, Recorder.count) == (True, 0)


class Recorder:
    """Result that counts how often it is unpickled."""

    count = 0

    def __setstate__(self, _state: object) -> None:
        Recorder.count += 1

    def __getstate__(self) -> dict:
        return {"any": 1}


@pytest.mark.parametrize("value", [Unreadable(), "caf\udce9", "a\0b", "x" * 2_000_000])
def test_column_of_any_value_is_listed_as_in_the_manual(admin_client, value) -> None:
    save("a", success=False, result=value, args=(value,))

    class ChildClassAdmin(q_admin.FailAdmin):
        list_display = ("name", "func", "result", "started", "attempt_count", "args")

    request = RequestFactory().get("/")
    request.user = User.objects.get(is_superuser=True)
    response = ChildClassAdmin(Failure, admin.site).changelist_view(request)
    assert response.render().status_code == 200
    assert len(response.content) < 100_000


# the page of a task


def test_failure_shows_its_exception_first(admin_client) -> None:
    page = page_of(admin_client, save("a", success=False, result=TRACEBACK)).content.decode()
    assert page.index("LookupError: no such part") < page.index("Traceback (most") < page.index("name-a</div>")
    assert "  File &quot;/srv/shop/orders.py&quot;, line 12, in ship\n    raise LookupError" in page


def test_frames_of_libraries_are_folded(admin_client) -> None:
    page = page_of(admin_client, save("a", success=False, result=TRACEBACK)).content.decode()
    folded = page[page.index("<summary>1 frame of a library") : page.index("</details>", page.index("1 frame of"))]
    assert "celestial" in folded
    assert "orders.py" not in folded


def test_large_value_is_truncated_and_downloaded_whole(admin_client) -> None:
    task = save("a", args=("1", 2), result=["x" * 2_000_000])
    page = page_of(admin_client, task).content.decode()
    assert "(&#x27;1&#x27;, 2)" in page
    assert page.count("x") < 3 * MAX_SHOWN_CHARACTERS
    address = reverse("admin:django_q_success_value", args=[task.pk, "result"])
    assert address in page
    response = admin_client.get(address)
    assert response.content.decode() == repr(["x" * 2_000_000])
    assert response["Content-Disposition"].startswith("attachment;")
    assert response["Content-Type"].startswith("text/plain")


def test_download_of_a_failure_is_its_text(admin_client) -> None:
    save("a", success=False, result=TRACEBACK)
    address = reverse("admin:django_q_failure_value", args=["a" * 32, "result"])
    assert admin_client.get(address).content.decode() == TRACEBACK


@pytest.mark.parametrize("name", ["result", "pk"])
def test_download_needs_the_view_permission(client, name) -> None:
    save("a")
    client = user_with(client, "view_failure")
    assert client.get(reverse("admin:django_q_success_value", args=["a" * 32, name])).status_code == 403


@pytest.mark.parametrize(("pk", "name"), [("a" * 32, "pk"), ("b" * 32, "result"), ("a" * 32, "delete")])
def test_only_values_are_downloaded(admin_client, pk, name) -> None:
    save("a")
    assert admin_client.get(reverse("admin:django_q_success_value", args=[pk, name])).status_code == 404


@pytest.mark.parametrize("attribute", ["args", "kwargs", "result"])
def test_value_that_cannot_be_read_is_a_note(admin_client, attribute) -> None:
    page = page_of(admin_client, save("a", **{attribute: Unreadable()})).content.decode()
    assert "(This value cannot be read: its class may not exist any more.)" in page


@pytest.mark.parametrize("success", [True, False])
def test_page_has_no_button_that_saves(admin_client, success) -> None:
    page = page_of(admin_client, save("a", success=success)).content.decode()
    assert "_save" not in page
    assert "_continue" not in page


@pytest.mark.parametrize("success", [True, False])
def test_posted_form_changes_nothing(admin_client, success) -> None:
    task = save("a", success=success)
    address = reverse(f"admin:django_q_{'success' if success else 'failure'}_change", args=[task.pk])
    assert admin_client.post(address, {"func": "other", "_save": "1"}).status_code == 403
    task.refresh_from_db()
    assert (task.func, LogEntry.objects.count()) == ("math.floor", 0)


@pytest.mark.parametrize("success", [True, False])
def test_page_resubmits(admin_client, success) -> None:
    get_broker().delete_queue()
    task = save("a", args=(1.5,), success=success)
    assert 'name="_resubmit"' in page_of(admin_client, task).content.decode()
    address = reverse(f"admin:django_q_{'success' if success else 'failure'}_change", args=[task.pk])
    page = admin_client.post(address, {"_resubmit": "1"}, follow=True).content.decode()
    assert "1 task was resubmitted." in page
    assert (get_broker().queue_size(), LogEntry.objects.count()) == (1, 1)
    assert Task.objects.filter(pk=task.pk).exists() is success
    get_broker().delete_queue()


def test_user_with_view_permission_has_no_button(client) -> None:
    task = save("a", success=False)
    client = user_with(client, "view_failure", "delete_failure")
    assert "_resubmit" not in page_of(client, task).content.decode()
    address = reverse("admin:django_q_failure_change", args=[task.pk])
    assert client.post(address, {"_resubmit": "1"}).status_code == 403
    assert Failure.objects.count() == 1


@pytest.mark.parametrize("model", [Success, Failure])
def test_page_has_concrete_fields_only(rf, model) -> None:
    page = admin.site._registry[model]
    shown = page.get_readonly_fields(rf.get("/"))
    related = {each.name for each in Task._meta.get_fields() if not each.concrete}
    assert not related & {*shown}


# unavailable servers


@pytest.mark.parametrize("model", ["success", "failure"])
def test_unavailable_database_is_a_message(admin_client, model, unavailable) -> None:
    task = save("a", success=model == "success")
    addresses = [
        reverse(f"admin:django_q_{model}_changelist"),
        reverse(f"admin:django_q_{model}_change", args=[task.pk]),
        reverse(f"admin:django_q_{model}_value", args=[task.pk, "result"]),
    ]
    for address in addresses:
        with unavailable("django_q_task"):
            response = admin_client.get(address)
        assert response.url == reverse("admin:index")
        assert "server closed the connection" in admin_client.get(response.url).content.decode()


def test_executed_failure_opens(admin_client) -> None:
    task = Failure.objects.get(pk=async_task("math.floor", "x", sync=True))
    assert "TypeError: must be real number, not str" in page_of(admin_client, task).content.decode()
