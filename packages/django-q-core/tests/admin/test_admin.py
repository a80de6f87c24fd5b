from __future__ import annotations

import re

import pytest
from django.apps import apps as django_apps
from django.contrib import admin
from django.urls import reverse
from django.utils import timezone
from django_q import admin as q_admin
from django_q.brokers import get_broker
from django_q.models import Failure, Schedule, Success, Task
from django_q.settings import current_settings
from django_q.wire.codec import PackageCodec

pytestmark = pytest.mark.django_db


def save(letter: str, **columns: object) -> Task:
    now = timezone.now()
    columns = {"name": f"name-{letter}", "func": "math.floor", "started": now, "stopped": now} | columns
    return Task.objects.create(id=letter * 32, **columns)


@pytest.fixture
def queued():
    """Fetch all packages of the queue."""
    broker, codec = get_broker(), PackageCodec.of(current_settings())
    broker.delete_queue()

    def take() -> list[dict]:
        deliveries = broker.dequeue_many(100, 0)
        broker.acknowledge_many([delivery.ack_id for delivery in deliveries])
        return [codec.loads(delivery.package) for delivery in deliveries]

    yield take
    broker.delete_queue()


def resubmit(client, model: str, *tasks: Task):
    url = reverse(f"admin:django_q_{model}_changelist")
    data = {"action": "resubmit_task", "_selected_action": [task.pk for task in tasks]}
    return client.post(url, data, follow=True)


@pytest.mark.parametrize("model", ["success", "failure", "schedule"])
def test_lists_and_pages_open(admin_client, model: str) -> None:
    save("a", result="fine", group="g")
    save("b", result="x" * 300, success=False)
    schedule = Schedule.objects.create(func="math.floor", task="a" * 32)
    pk = {"success": "a" * 32, "failure": "b" * 32, "schedule": schedule.pk}[model]
    for url in (reverse(f"admin:django_q_{model}_changelist"), reverse(f"admin:django_q_{model}_change", args=[pk])):
        assert admin_client.get(url).status_code == 200


@pytest.mark.parametrize("model", ["success", "failure", "record"])
def test_title_of_a_read_only_list_says_that_rows_are_viewed(admin_client, model: str) -> None:
    page = admin_client.get(reverse(f"admin:django_q_{model}_changelist")).content.decode()
    name = django_apps.get_model("django_q", model)._meta.verbose_name
    assert f"<h1>Select {name} to view</h1>" in page


def test_title_of_schedules_says_that_they_are_changed(admin_client) -> None:
    page = admin_client.get(reverse("admin:django_q_schedule_changelist")).content.decode()
    assert "<h1>Select Scheduled task to change</h1>" in page


def test_lists_have_the_columns_of_the_manual() -> None:
    columns = {model: admin.site._registry[model].list_display for model in (Success, Failure, Schedule)}
    assert {"name", "function", "started_at", "stopped_at", "time_taken", "group"} <= {*columns[Success]}
    assert {"name", "function", "started_at", "stopped_at", "short_result"} <= {*columns[Failure]}
    schedule = {"id", "title", "schedule_type", "repeats", "next_run_at", "last_run", "success"}
    assert schedule | {"function", "error", "in_code"} == {*columns[Schedule]}


@pytest.mark.parametrize("field", ["name", "func", "group"])
def test_tasks_are_searched(admin_client, field: str) -> None:
    save("a", **{field: "needle"})
    save("b")
    response = admin_client.get(reverse("admin:django_q_success_changelist"), {"q": "needle"})
    assert [task.pk for task in response.context["cl"].result_list] == ["a" * 32]


def test_tasks_are_filtered_by_group(admin_client) -> None:
    save("a", group="g")
    save("b")
    response = admin_client.get(reverse("admin:django_q_success_changelist"), {"group": "g"})
    assert [task.pk for task in response.context["cl"].result_list] == ["a" * 32]


def test_tasks_are_never_added_or_changed(admin_client) -> None:
    task = save("a", func="math.floor")
    assert admin_client.get(reverse("admin:django_q_success_add")).status_code == 403
    admin_client.post(reverse("admin:django_q_success_change", args=[task.pk]), {"func": "other"})
    task.refresh_from_db()
    assert task.func == "math.floor"


def test_tasks_can_be_deleted(admin_client) -> None:
    task = save("a")
    admin_client.post(reverse("admin:django_q_success_delete", args=[task.pk]), {"post": "yes"})
    assert not Task.objects.exists()


def test_schedules_and_their_last_tasks_take_one_query(admin_client, django_assert_max_num_queries) -> None:
    save("a", success=False)
    for _ in range(20):
        Schedule.objects.create(func="math.floor", task="a" * 32)
    with django_assert_max_num_queries(12):
        page = admin_client.get(reverse("admin:django_q_schedule_changelist")).content.decode()
    assert page.count(f"/admin/django_q/failure/{'a' * 32}/change/") == 20


def test_list_of_successes_reads_no_result(admin_client) -> None:
    save("a", result=1)
    response = admin_client.get(reverse("admin:django_q_success_changelist"))
    [task] = response.context["cl"].result_list
    assert task.get_deferred_fields() == {"args", "kwargs", "result"}


def test_pages_are_customized_as_in_the_manual() -> None:
    class ChildClassAdmin(q_admin.FailAdmin):
        list_display = ("name", "func", "result", "started", "attempt_count")

    assert not ChildClassAdmin(Failure, admin.site).check()


def list_of(rf, admin_user, model):
    """Return the list of the class that is registered now. The addresses of the site belong to the first one."""
    request = rf.get("/")
    request.user = admin_user
    return admin.site._registry[model].changelist_view(request).render()


def test_pages_are_registered_again_as_in_the_manual(rf, admin_user) -> None:
    save("a", success=False, result="the reason", attempt_count=3)
    original = admin.site._registry[Failure]
    admin.site.unregister([Failure])
    try:

        @admin.register(Failure)
        class ChildClassAdmin(q_admin.FailAdmin):
            list_display = ("name", "func", "result", "started", "attempt_count")

        page = list_of(rf, admin_user, Failure).content.decode()
    finally:
        admin.site._registry[Failure] = original
    assert re.findall(r'<th scope="col" class="[^"]*column-(\w+)', page) == [
        *("name", "func", "short_result", "started", "attempt_count")
    ]
    assert '<td class="field-attempt_count">3</td>' in page
    assert "the reason" in page


@pytest.mark.parametrize(
    ("model", "base", "columns"),
    [
        (Success, q_admin.TaskAdmin, ("name", "func", "result", "started", "attempt_count")),
        (Schedule, q_admin.ScheduleAdmin, ("id", "name", "func", "repeats", "next_run", "cron")),
    ],
)
def test_other_pages_are_registered_again(rf, admin_user, model, base, columns) -> None:
    save("a", success=True, result="the value")
    Schedule.objects.create(name="nightly", func="math.floor")
    original = admin.site._registry[model]
    admin.site.unregister([model])
    try:
        admin.site.register(model, type("ChildClassAdmin", (base,), {"list_display": columns}))
        response = list_of(rf, admin_user, model)
    finally:
        admin.site._registry[model] = original
    shown = response.context_data["cl"]
    assert len(shown.list_display) == len(columns) + 1  # and the boxes of the actions
    assert len(shown.result_list) == 1


def test_old_names_resolve() -> None:
    assert q_admin.retry_failed is q_admin.resubmit_task


def test_queue_admin_resolves_with_its_broker() -> None:
    pytest.importorskip("django_q_orm")
    assert q_admin.QueueAdmin.__module__ == "django_q_orm.admin"


# hostile values


class Unprintable:
    """Result whose text form exits the process."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error or SystemExit(1)

    def __str__(self) -> str:
        raise self.error

    __repr__ = __str__


class Exits:
    """Result that exits the process when it is unpickled."""

    def __reduce__(self):
        return exit, (1,)


HOSTILE = {
    "surrogate": "caf\udce9",
    "surrogate within": ["caf\udce9"],
    "nul": "a\0b",
    "long": "x" * 3_000_000,
    "unprintable": Unprintable(),
    "exit": Exits(),
    "markup": "<script>alert(1)</script>",
}


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_pages_show_any_value(admin_client, value, success) -> None:
    save("a", args=(value,), kwargs={"x": value}, result=value, success=success)
    model = "success" if success else "failure"
    for url in (
        reverse(f"admin:django_q_{model}_changelist"),
        reverse(f"admin:django_q_{model}_change", args=["a" * 32]),
        reverse(f"admin:django_q_{model}_delete", args=["a" * 32]),
        reverse(f"admin:django_q_{model}_history", args=["a" * 32]),
    ):
        response = admin_client.get(url)
        assert response.status_code == 200
        assert len(response.content) < 1_000_000
        assert "<script>alert(1)" not in response.content.decode()


def test_page_shows_arguments_and_result(admin_client) -> None:
    save("a", args=(1, "é"), kwargs={"x": 2}, result="caf\udce9")
    page = admin_client.get(reverse("admin:django_q_success_change", args=["a" * 32])).content.decode()
    assert "(1, &#x27;é&#x27;)" in page
    assert "{&#x27;x&#x27;: 2}" in page
    assert "&#x27;caf\\udce9&#x27;" in page
