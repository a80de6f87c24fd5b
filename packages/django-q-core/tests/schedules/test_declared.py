"""Schedules of the code: created, updated and removed when a cluster starts. Complaint 25."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from django_q.exceptions import ScheduleError
from django_q.models import Schedule
from django_q.schedules import declared
from django_q.schedules.declared import synchronise
from django_q.tasks import schedule, scheduled
from django_q.tasks.scheduling import DECLARED

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch):
    """Only what the test declares."""
    monkeypatch.setattr(declared, "modules", tuple)
    before = dict(DECLARED)
    DECLARED.clear()
    yield
    DECLARED.clear()
    DECLARED.update(before)


def task(*args, **kwargs):
    """A function of the project."""


task.__module__ = "project.tasks"  # this file's own path has a hyphen in it
PATH = "project.tasks.task"


def put_right(clockwork, *entries, **changes):
    """Start a cluster whose settings declare these."""
    return synchronise(clockwork(schedules=entries, **changes).settings)


def test_a_decorated_function_is_scheduled(clockwork):
    assert scheduled("one", cron="0 22 * * *", name="nightly", two=2, overlap=False)(task) is task
    assert put_right(clockwork).created == ["nightly"]
    made = Schedule.objects.get()
    assert (made.name, made.func, made.args, made.kwargs) == ("nightly", PATH, "('one',)", "{'two': 2}")
    assert (made.schedule_type, made.cron, made.overlap, made.in_code) == ("C", "0 22 * * *", False, True)
    assert made.next_run > timezone.now()


def test_the_type_follows_from_what_is_said(clockwork):
    scheduled(minutes=5)(task)
    put_right(clockwork)
    assert Schedule.objects.values_list("name", "schedule_type", "minutes").get() == (PATH, "I", 5)


def test_settings_declare_too(clockwork):
    put_right(
        clockwork,
        {"func": "math.floor", "args": [1.5], "kwargs": {"x": 1}, "q_options": {"timeout": 5}, "schedule_type": "D"},
    )
    made = Schedule.objects.get()
    assert (made.name, made.args) == ("math.floor", "(1.5,)")
    assert made.kwargs == "{'x': 1, 'q_options': {'timeout': 5}}"


def test_nothing_changes_when_nothing_changed(clockwork, django_assert_max_num_queries):
    scheduled(cron="0 22 * * *", repeats=5)(task)
    put_right(clockwork)
    before = Schedule.objects.values().get()
    with django_assert_max_num_queries(3):
        changes = put_right(clockwork)
    assert (changes.created, changes.updated, changes.removed, changes.broken) == ([], [], [], [])
    assert Schedule.objects.values().get() == before


def test_what_the_code_says_now_holds(clockwork):
    scheduled(cron="0 22 * * *", name="nightly")(task)
    put_right(clockwork)
    scheduled("more", cron="0 3 * * *", name="nightly")(task)
    assert put_right(clockwork).updated == ["nightly"]
    made = Schedule.objects.get()
    assert (made.cron, made.args, made.next_run.hour) == ("0 3 * * *", "('more',)", 3)


def test_what_is_not_declared_any_more_is_removed_and_nothing_else(clockwork):
    scheduled(cron="0 22 * * *", name="nightly")(task)
    put_right(clockwork)
    schedule("math.floor", 1, name="by hand")
    DECLARED.clear()
    assert put_right(clockwork).removed == ["nightly"]
    assert Schedule.objects.get().name == "by hand"


def test_operators_keep_what_they_did(clockwork):
    scheduled(minutes=5, name="five")(task)
    put_right(clockwork)
    moved = timezone.now() + timedelta(days=2)
    Schedule.objects.update(repeats=0, next_run=moved)
    scheduled(minutes=10, name="five")(task)
    put_right(clockwork)
    assert Schedule.objects.values_list("repeats", "next_run", "minutes").get() == (0, moved, 10)


def test_a_schedule_made_by_hand_becomes_the_codes(clockwork):
    schedule("math.floor", 1, name="floor")
    put_right(clockwork, {"func": "math.ceil", "name": "floor", "minutes": 5})
    assert Schedule.objects.values_list("func", "in_code").get() == ("math.ceil", True)


def test_each_cluster_puts_its_own_right(clockwork):
    scheduled(minutes=5, name="default")(task)
    scheduled(minutes=5, name="other", cluster="other")(task)
    assert put_right(clockwork).created == ["default"]
    assert put_right(clockwork, cluster_name="other").created == ["other"]
    DECLARED.clear()
    assert put_right(clockwork).removed == ["default"]
    assert Schedule.objects.get().name == "other"


def test_a_mistake_is_told_and_removes_nothing(clockwork):
    put_right(clockwork, {"func": "math.floor", "name": "good", "minutes": 5}, {"func": "math.ceil", "minutes": 5})
    changes = put_right(
        clockwork,
        {"func": "math.floor", "name": "good", "cron": "0 0 31 2 *"},
        {"func": "math.ceil", "tiemout": 5, "minutes": 5},
        {"func": "math.exp", "name": "new", "minutes": 5},
    )
    assert [name for name, _ in changes.broken] == ["math.ceil", "good"]
    assert changes.created == ["new"]
    assert Schedule.objects.count() == 3


def test_a_module_that_cannot_be_imported_removes_nothing(clockwork, monkeypatch, tmp_path):
    put_right(clockwork, {"func": "math.floor", "minutes": 5})
    (tmp_path / "halftasks.py").write_text('raise ImportError("no such module")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(declared, "modules", lambda: ("halftasks",))
    changes = put_right(clockwork)
    assert [str(error) for _, error in changes.broken] == ["no such module"]
    assert Schedule.objects.exists()


def test_modules_are_those_that_the_apps_have(monkeypatch, tmp_path, settings):
    monkeypatch.undo()
    for app, module in (("app_of_tasks", "tasks"), ("app_of_schedules", "schedules"), ("app_of_views", "views")):
        (tmp_path / app).mkdir()
        (tmp_path / app / "__init__.py").touch()
        (tmp_path / app / f"{module}.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = ["app_of_tasks", "app_of_schedules", "app_of_views"]
    assert declared.modules() == ("app_of_tasks.tasks", "app_of_schedules.schedules")


def test_one_name_is_one_function(monkeypatch):
    scheduled(minutes=5, name="same")(task)
    scheduled(minutes=6, name="same")(task)
    with pytest.raises(ScheduleError, match="both declare"):
        scheduled(minutes=5, name="same")(timezone.now)


def test_a_declaration_says_when():
    with pytest.raises(ScheduleError, match="Say when"):
        scheduled(name="never")(task)
