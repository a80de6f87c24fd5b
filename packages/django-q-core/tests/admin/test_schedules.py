"""The admin's pages of schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django_q.models import Schedule

pytestmark = pytest.mark.django_db

NOW = datetime(2025, 6, 2, 12, 0, tzinfo=UTC)
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
    assert set(page.context["adminform"].form.fields) == {"repeats", "next_run"}
    assert not page.context["has_delete_permission"]
    assert save(admin_client, schedule, repeats="0").status_code == 302
    schedule.refresh_from_db()
    assert (schedule.repeats, schedule.func) == (0, "math.floor")
