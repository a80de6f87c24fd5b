"""The admin's pages of schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.brokers.memory import MemoryBroker
from django_q.exceptions import BrokerUnavailable
from django_q.models import Schedule

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
LIST = "admin:django_q_schedule_changelist"
ADD = "admin:django_q_schedule_add"


def form(**fields) -> dict[str, str]:
    """Return the data that a browser sends."""
    return {
        "func": "math.floor",
        "schedule_type": "H",
        "repeats": "-1",
        "catch_up": "unknown",
        "overlap": "on",
    } | fields


def save(admin_client, schedule: Schedule, **fields):
    """Send the form of a schedule with some fields changed."""
    page = reverse("admin:django_q_schedule_change", args=[schedule.pk])
    shown = admin_client.get(page).context["adminform"].form
    sent = {}
    for bound in shown:
        value = bound.value()
        for name in ("", "initial-") if bound.field.show_hidden_initial else ("",):
            if isinstance(value, datetime):
                at = timezone.localtime(value)
                sent[f"{name}{bound.name}_0"], sent[f"{name}{bound.name}_1"] = f"{at:%Y-%m-%d}", f"{at:%H:%M:%S}"
            elif value is not None and value is not False:
                sent[f"{name}{bound.name}"] = str(value)
    return admin_client.post(page, sent | fields)


def problems(response) -> dict[str, list[str]]:
    """Return the errors of the form."""
    return response.context["adminform"].form.errors


def test_empty_next_run_is_now(admin_client):
    admin_client.post(reverse(ADD), form())
    assert abs((Schedule.objects.get().next_run - timezone.now()).total_seconds()) < 10


def test_empty_next_run_of_cron_is_the_first_slot(admin_client):
    admin_client.post(reverse(ADD), form(schedule_type="C", cron="0 0 1 1 *"))
    assert Schedule.objects.get().next_run.month == 1


def test_form_mentions_the_last_day_of_the_month(admin_client):
    assert "the day L is the last of the month" in admin_client.get(reverse(ADD)).content.decode()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"func": "no path"}, "func"),
        ({"args": "open('x')"}, "args"),
        ({"kwargs": "x=open('x')"}, "kwargs"),
        ({"schedule_type": "C", "cron": "0 0 31 2 *"}, "cron"),
        ({"schedule_type": "C"}, "cron"),
        ({"schedule_type": "I"}, "minutes"),
        ({"name": "taken"}, "name"),
    ],
)
def test_errors_are_shown_beside_their_field(admin_client, due, fields, field):
    due(name="taken")
    assert list(problems(admin_client.post(reverse(ADD), form(**fields)))) == [field]


def test_unchanged_columns_are_not_overwritten(admin_client, due, clockwork):
    """The scheduler sets the next slot while an operator edits the schedule."""
    schedule = due(next_run=NOW)
    page = reverse("admin:django_q_schedule_change", args=[schedule.pk])
    shown = admin_client.get(page).content
    assert b'name="initial-next_run_0"' in shown
    clockwork().play(NOW)
    sent = form(func="math.ceil", args="1.5", **dict.fromkeys(("next_run_0", "initial-next_run_0"), "2025-06-02"))
    sent |= dict.fromkeys(("next_run_1", "initial-next_run_1"), "12:00:00") | {"repeats": "-1", "initial-repeats": "-1"}
    assert admin_client.post(page, sent).status_code == 302
    schedule.refresh_from_db()
    assert (schedule.func, schedule.next_run, schedule.repeats) == ("math.ceil", NOW + timedelta(hours=1), -2)


def test_last_error_is_shown_and_deleted_by_a_correction(admin_client, due, clockwork):
    schedule = due(args="nonsense")
    clockwork().play(NOW)
    listed = admin_client.get(reverse("admin:django_q_schedule_changelist")).content.decode()
    assert "cannot be read as arguments" in listed
    assert save(admin_client, schedule, args="1.5").status_code == 302
    schedule.refresh_from_db()
    assert (schedule.last_error, schedule.retry_at) == (None, None)


def test_declared_schedule_can_only_be_paused(admin_client, due):
    schedule = due(in_code=True, name="code")
    page = admin_client.get(reverse("admin:django_q_schedule_change", args=[schedule.pk]))
    assert set(page.context["adminform"].form.fields) == {"repeats"}
    assert not page.context["has_delete_permission"]
    before = schedule.next_run
    changes = {"repeats": "0", "func": "os.abort", "next_run_0": "2001-01-01", "next_run_1": "00:00"}
    assert save(admin_client, schedule, **changes).status_code == 302
    schedule.refresh_from_db()
    assert (schedule.repeats, schedule.func, schedule.next_run) == (0, "math.floor", before)


# the list


def test_schedule_is_titled_by_its_name(admin_client, due):
    schedule = due(name="nightly")
    page = admin_client.get(reverse("admin:django_q_schedule_change", args=[schedule.pk])).content.decode()
    assert "<h2>nightly</h2>" in page


def test_type_filter_is_a_drop_down(admin_client, due):
    due(name="daily", schedule_type="D")
    due(name="hourly")
    response = admin_client.get(reverse(LIST), {"schedule_type__exact": "D"})
    assert [schedule.name for schedule in response.context["cl"].result_list] == ["daily"]
    assert '<option value="D" selected>Daily</option>' in response.content.decode()
    assert len(admin_client.get(reverse(LIST), {"schedule_type__exact": ""}).context["cl"].result_list) == 2


def test_list_executes_no_count(admin_client, due):
    due()
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(reverse(LIST))
    assert not [each for each in queries.captured_queries if "COUNT(" in each["sql"].upper()]


@pytest.mark.parametrize(
    "columns",
    [
        {"schedule_type": "?"},
        {"schedule_type": "C", "cron": "no cron"},
        {"schedule_type": "I", "minutes": None},
        {"next_run": None},
        {"args": "open('x')", "last_error": "<script>alert(1)</script>" * 1000},
        {"task": "gone"},
    ],
)
def test_any_row_is_shown(admin_client, due, columns):
    schedule = due()
    Schedule.objects.filter(pk=schedule.pk).update(**columns)
    for address in (reverse(LIST), reverse("admin:django_q_schedule_change", args=[schedule.pk])):
        response = admin_client.get(address)
        assert response.status_code == 200
        assert "<script>alert(1)" not in response.content.decode()


# the form


@pytest.mark.parametrize(
    ("fields", "field", "part"),
    [
        ({"func": "math.no_such"}, "func", "no_such"),
        ({"func": "math.pi"}, "func", "cannot be called"),
        ({"hook": "no_module.hook"}, "hook", "no_module"),
        ({"kwargs": "q_options={'no_such': 1}"}, "kwargs", "no_such"),
        ({"kwargs": "q_options={'timeout': 'soon'}"}, "kwargs", "timeout"),
        ({"kwargs": "q_options={'hook': 'no_module.hook'}"}, "kwargs", "no_module"),
        ({"kwargs": "q_options=5"}, "kwargs", "q_options"),
        ({"kwargs": "timeout='soon'"}, "kwargs", "timeout"),
        ({"cluster": "x" * 90 + "-dead"}, "cluster", "-dead"),
    ],
)
def test_form_validates_what_will_run(admin_client, fields, field, part):
    found = problems(admin_client.post(reverse(ADD), form(**fields)))
    assert list(found) == [field]
    assert part in str(found[field])
    assert not Schedule.objects.exists()


def test_each_wrong_option_has_a_message(admin_client):
    wrong = "q_options={'timeout': 'soon', 'no_such': 1, 'priority': 1000}"
    found = problems(admin_client.post(reverse(ADD), form(kwargs=wrong)))
    assert len(found["kwargs"]) == 3


def test_function_of_another_cluster_is_not_imported(admin_client):
    assert admin_client.post(reverse(ADD), form(func="elsewhere.task", cluster="other")).status_code == 302


def test_next_five_runs_are_shown_in_local_time(admin_client, due, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    schedule = due(schedule_type="D", next_run=datetime(2025, 6, 2, 6, tzinfo=UTC))
    with timezone.override("Europe/Berlin"):
        page = admin_client.get(reverse("admin:django_q_schedule_change", args=[schedule.pk])).content.decode()
    for day in range(2, 7):
        assert f"2025-06-0{day} 08:00:00 CEST" in page
    assert "2025-06-07 08:00:00" not in page


def test_runs_of_unsaved_values_are_shown_by_a_button(admin_client):
    fields = form(schedule_type="C", cron="30 4 * * *", next_run_0="2025-06-02", next_run_1="04:30:00", _preview="1")
    page = admin_client.post(reverse(ADD), fields).content.decode()
    assert "2025-06-06 04:30:00 UTC" in page
    assert "errornote" not in page
    assert not Schedule.objects.exists()


# actions


def choose(client, action: str, *schedules: Schedule) -> str:
    """Run an action for schedules; return the messages of the page."""
    data = {"action": action, "_selected_action": [schedule.pk for schedule in schedules]}
    return client.post(reverse(LIST), data, follow=True).content.decode()


def test_schedule_is_run_now(admin_client, due, clockwork):
    clock = clockwork()
    schedule = due(name="nightly")
    assert "1 task was sent." in choose(admin_client, "run_now", schedule)
    [package] = clock.queued()
    schedule.refresh_from_db()
    assert (package["func"], package["group"], schedule.task) == ("math.floor", "nightly", package["id"])
    assert (schedule.next_run, schedule.repeats) == (NOW, -1)
    assert package["id"] in LogEntry.objects.get().change_message


def test_schedule_of_another_cluster_is_run_there(admin_client, due, clockwork):
    clock = clockwork()
    choose(admin_client, "run_now", due(cluster="other"))
    assert (len(clock.queued("other")), clock.queued()) == (1, [])


def test_broken_schedule_is_not_run_and_others_are(admin_client, due, clockwork):
    clock = clockwork()
    page = choose(admin_client, "run_now", due(name="broken", args="open('x')", next_run=NOW), due(name="good"))
    assert "Broken was not sent" in page
    assert [package["group"] for package in clock.queued()] == ["good"]


def test_unavailable_broker_is_a_message(admin_client, due, monkeypatch):
    def refuse(self, packages, **options):
        raise BrokerUnavailable("the server is away")

    monkeypatch.setattr(MemoryBroker, "enqueue_many", refuse)
    monkeypatch.setattr(MemoryBroker, "enqueue", refuse)
    assert "the server is away" in choose(admin_client, "run_now", due())
    assert not LogEntry.objects.exists()


def test_schedule_is_paused_and_resumed(admin_client, due):
    schedule, other = due(repeats=3), due(next_run=timezone.now() + timedelta(days=1))
    assert "1 schedule is paused." in choose(admin_client, "pause", schedule)
    schedule.refresh_from_db()
    assert schedule.repeats == 0
    assert "1 schedule runs again." in choose(admin_client, "resume", schedule, other)
    schedule.refresh_from_db()
    assert schedule.repeats == -1
    assert timedelta() < schedule.next_run - timezone.now() <= timedelta(hours=1)
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == ["Paused.", "Resumed."]


def test_resumed_once_schedule_runs_once_more(admin_client, due):
    schedule = due(schedule_type="O", repeats=0)
    choose(admin_client, "resume", schedule)
    schedule.refresh_from_db()
    assert (schedule.repeats, schedule.next_run) == (1, NOW)


def test_declared_schedule_is_paused(admin_client, due):
    schedule = due(in_code=True, name="code")
    choose(admin_client, "pause", schedule)
    schedule.refresh_from_db()
    assert schedule.repeats == 0


def test_duplicates_are_paused_and_have_free_names(admin_client, due):
    schedule = due(name="nightly", in_code=True, task="x", last_error="y")
    for _ in range(2):
        choose(admin_client, "duplicate", schedule)
    copies = Schedule.objects.exclude(pk=schedule.pk).order_by("pk")
    assert [copy.name for copy in copies] == ["nightly (copy)", "nightly (copy 2)"]
    assert {(copy.func, copy.args, copy.repeats, copy.in_code, copy.task, copy.last_error) for copy in copies} == {
        ("math.floor", "1.5", 0, False, None, None)
    }
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("view_schedule", set()),
        ("run_schedule", {"run_now"}),
        ("change_schedule", {"pause", "resume"}),
        ("add_schedule", {"duplicate"}),
    ],
)
def test_each_action_needs_its_permission(client, due, clockwork, permission, allowed):
    clock, schedule = clockwork(), due(name="one")
    user = User.objects.create_user("staff", is_staff=True)
    codenames = {"view_schedule", permission}
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    for action in {"run_now", "pause", "resume", "duplicate"} - allowed:
        choose(client, action, schedule)
    schedule.refresh_from_db()
    assert (schedule.repeats, Schedule.objects.count(), clock.queued()) == (-1, 1, [])
    for action in allowed:
        choose(client, action, schedule)
    assert LogEntry.objects.exists() is bool(allowed)
