"""Declared schedules are created, updated and removed when a cluster starts. Complaint 25."""

from __future__ import annotations

import importlib
import shutil
import sys
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_q.exceptions import ScheduleError
from django_q.models import Schedule
from django_q.schedules import synchronising
from django_q.schedules.declarations import DECLARED, Declaration
from django_q.schedules.reasons import reason_of
from django_q.schedules.synchronising import synchronise
from django_q.tasks import schedule, scheduled

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch):
    """Remove all declarations except those of the test."""
    monkeypatch.setattr(synchronising, "modules", tuple)
    before = dict(DECLARED)
    DECLARED.clear()
    yield
    DECLARED.clear()
    DECLARED.update(before)


def task(*args, **kwargs):
    """A function of the project."""


task.__module__ = "project.tasks"  # this file's own path has a hyphen in it
PATH = "project.tasks.task"


def sync(clockwork, *entries, **changes):
    """Synchronise the schedules of a cluster whose settings declare these."""
    return synchronise(clockwork(schedules=entries, **changes).settings)


def test_a_decorated_function_is_scheduled(clockwork):
    assert scheduled("one", cron="0 22 * * *", name="nightly", two=2, overlap=False)(task) is task
    assert sync(clockwork).created == ["nightly"]
    made = Schedule.objects.get()
    assert (made.name, made.func, made.args, made.kwargs) == ("nightly", PATH, "('one',)", "{'two': 2}")
    assert (made.schedule_type, made.cron, made.overlap, made.in_code) == ("C", "0 22 * * *", False, True)
    assert made.next_run > timezone.now()


def test_type_follows_from_the_options(clockwork):
    scheduled(minutes=5)(task)
    sync(clockwork)
    assert Schedule.objects.values_list("name", "schedule_type", "minutes").get() == (PATH, "I", 5)


def test_settings_declare_too(clockwork):
    sync(
        clockwork,
        {"func": "math.floor", "args": [1.5], "kwargs": {"x": 1}, "q_options": {"timeout": 5}, "schedule_type": "D"},
    )
    made = Schedule.objects.get()
    assert (made.name, made.args) == ("math.floor", "(1.5,)")
    assert made.kwargs == "{'x': 1, 'q_options': {'timeout': 5}}"


def test_nothing_changes_when_nothing_changed(clockwork, django_assert_max_num_queries):
    scheduled(cron="0 22 * * *", repeats=5)(task)
    sync(clockwork)
    before = Schedule.objects.values().get()
    with django_assert_max_num_queries(3):
        changes = sync(clockwork)
    assert (changes.created, changes.updated, changes.removed, changes.broken) == ([], [], [], [])
    assert Schedule.objects.values().get() == before


def test_what_the_code_says_now_holds(clockwork):
    scheduled(cron="0 22 * * *", name="nightly")(task)
    sync(clockwork)
    scheduled("more", cron="0 3 * * *", name="nightly")(task)
    assert sync(clockwork).updated == ["nightly"]
    made = Schedule.objects.get()
    assert (made.cron, made.args, made.next_run.hour) == ("0 3 * * *", "('more',)", 3)


def test_only_undeclared_schedules_are_removed(clockwork):
    scheduled(cron="0 22 * * *", name="nightly")(task)
    sync(clockwork)
    schedule("math.floor", 1, name="by hand")
    DECLARED.clear()
    assert sync(clockwork).removed == ["nightly"]
    assert Schedule.objects.get().name == "by hand"


def test_operators_keep_what_they_did(clockwork):
    scheduled(minutes=5, name="five")(task)
    sync(clockwork)
    moved = timezone.now() + timedelta(days=2)
    Schedule.objects.update(repeats=0, next_run=moved)
    scheduled(minutes=10, name="five")(task)
    sync(clockwork)
    assert Schedule.objects.values_list("repeats", "next_run", "minutes").get() == (0, moved, 10)


def test_a_schedule_made_by_hand_becomes_the_codes(clockwork):
    schedule("math.floor", 1, name="floor")
    sync(clockwork, {"func": "math.ceil", "name": "floor", "minutes": 5})
    assert Schedule.objects.values_list("func", "in_code").get() == ("math.ceil", True)


def test_each_cluster_puts_its_own_right(clockwork):
    scheduled(minutes=5, name="default")(task)
    scheduled(minutes=5, name="other", cluster="other")(task)
    assert sync(clockwork).created == ["default"]
    assert sync(clockwork, cluster_name="other").created == ["other"]
    DECLARED.clear()
    assert sync(clockwork).removed == ["default"]
    assert Schedule.objects.get().name == "other"


def test_invalid_declaration_is_reported_and_removes_nothing(clockwork):
    sync(clockwork, {"func": "math.floor", "name": "good", "minutes": 5}, {"func": "math.ceil", "minutes": 5})
    changes = sync(
        clockwork,
        {"func": "math.floor", "name": "good", "cron": "0 0 31 2 *"},
        {"func": "math.ceil", "tiemout": 5, "minutes": 5},
        {"func": "math.exp", "name": "new", "minutes": 5},
    )
    assert [name for name, _ in changes.broken] == ["math.ceil", "good"]
    assert changes.created == ["new"]
    assert Schedule.objects.count() == 3


def test_a_module_that_cannot_be_imported_removes_nothing(clockwork, monkeypatch, tmp_path):
    sync(clockwork, {"func": "math.floor", "minutes": 5})
    (tmp_path / "halftasks.py").write_text('raise ImportError("no such module")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(synchronising, "modules", lambda: ("halftasks",))
    changes = sync(clockwork)
    assert [str(error) for _, error in changes.broken] == ["no such module"]
    assert Schedule.objects.exists()


def test_modules_are_those_that_the_apps_have(monkeypatch, tmp_path, settings):
    monkeypatch.undo()
    for app, module in (("app_of_tasks", "tasks"), ("app_of_schedules", "schedules"), ("app_of_views", "views")):
        (tmp_path / app).mkdir()
        (tmp_path / app / "__init__.py").touch()
        (tmp_path / app / f"{module}.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = ["django_q", "app_of_tasks", "app_of_schedules", "app_of_views"]
    assert synchronising.modules() == ("app_of_tasks.tasks", "app_of_schedules.schedules")


def test_one_name_is_one_function(monkeypatch):
    scheduled(minutes=5, name="same")(task)
    scheduled(minutes=6, name="same")(task)
    with pytest.raises(ScheduleError, match="both declare"):
        scheduled(minutes=5, name="same")(timezone.now)


def test_a_declaration_says_when():
    with pytest.raises(ScheduleError, match="The time is missing"):
        scheduled(name="never")(task)


# one that is broken affects only itself


class Unprintable:
    """An argument whose representation exits."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


@pytest.mark.parametrize(
    "entry",
    [
        {"func": "math.sqrt", "args": 5, "minutes": 1},
        {"func": "math.sqrt", "args": "abc", "minutes": 1},
        {"func": "math.sqrt", "args": {1}, "minutes": 1},
        {"func": "math.sqrt", "kwargs": [1], "minutes": 1},
        {"func": "math.sqrt", "kwargs": "ab", "minutes": 1},
        {"func": "math.sqrt", "kwargs": {1: 2}, "minutes": 1},
        {"func": "math.sqrt", "args": [object()], "minutes": 1},
        {"func": "math.sqrt", "args": [Unprintable(ValueError("no"))], "minutes": 1},
        {"func": "math.sqrt", "args": [Unprintable(SystemExit(1))], "minutes": 1},
        {"func": "math.sqrt", "args": Unprintable(ValueError("no")), "minutes": 1},
        {"func": "math.sqrt", "q_options": 5, "minutes": 1},
        {"func": "math.sqrt", "minutes": "five"},
        {"func": "math.sqrt", "minutes": -5},
        {"func": "math.sqrt", "cron": 5},
        {"func": "math.sqrt", "cron": "61 * * * *"},
        {"func": "math.sqrt", "schedule_type": "fortnightly"},
        {"func": "math.sqrt", "repeats": "often", "minutes": 1},
        {"func": "math.sqrt", "repeats": 10**30, "minutes": 1},
        {"func": "math.sqrt", "name": 5, "minutes": 1},
        {"func": "math.sqrt", "name": "x" * 101, "minutes": 1},
        {"func": "math.sqrt", "overlap": "maybe", "minutes": 1},
        {"func": "math.sqrt", "minutes": 1, "tiemout": 6},
        {"func": "math.sqrt", "cluster": ["a"], "minutes": 1},
        {"func": 5, "minutes": 1},
        {"func": lambda: 1, "minutes": 1},
        {"minutes": 1},
        {},
    ],
    ids=lambda entry: "entry",
)
def test_invalid_declaration_affects_only_itself_and_is_checked(clockwork, entry):
    settings = clockwork(schedules=(entry, {"func": "math.exp", "minutes": 5})).settings
    changes = synchronise(settings)
    assert changes.created == ["math.exp"]
    assert len(changes.broken) == 1
    assert [name for name, _ in synchronising.invalid(settings)] == [changes.broken[0][0]]
    assert reason_of(changes.broken[0][1])


@pytest.mark.parametrize(("entry", "what"), [({"args": 5}, "list or tuple"), ({"kwargs": 5}, "a dictionary")])
def test_invalid_arguments_say_what_is_expected(entry, what):
    with pytest.raises(ScheduleError, match=what):
        Declaration.from_mapping({"func": "math.sqrt", "minutes": 1} | entry)


def test_unavailable_database_is_not_the_declarations_fault(clockwork, monkeypatch):
    def away(*args):
        raise OperationalError("the server is away")

    monkeypatch.setattr(synchronising, "apply", away)
    with pytest.raises(OperationalError):
        sync(clockwork, {"func": "math.floor", "minutes": 5})


@pytest.fixture
def two_apps(monkeypatch, tmp_path, settings):
    """Two apps that declare schedules, and a function that replaces their modules."""
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS]
    good = "from django_q.tasks import scheduled\n@scheduled(minutes=5, name={!r})\ndef work(): ...\n"

    def write(app: str, text: str) -> None:
        (tmp_path / app / "tasks.py").write_text(text)
        for module in (f"{app}.tasks", app):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / app / "__pycache__", ignore_errors=True)

    for app in ("app_broken", "app_good"):
        (tmp_path / app).mkdir()
        (tmp_path / app / "__init__.py").touch()
        write(app, good.format(app))
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "app_broken", "app_good"]
    monkeypatch.setattr(synchronising, "modules", lambda: ("app_broken.tasks", "app_good.tasks"))
    return write


@pytest.mark.parametrize(
    "text",
    [
        "raise ImportError('no such module')",
        "raise SystemExit(1)",
        "raise KeyboardInterrupt",
        "raise BaseException",
        "class E(Exception):\n    def __str__(self): return self.missing\nraise E",
        "raise ValueError('caf\\udce9')",
        "def (:",
    ],
)
def test_module_that_cannot_be_imported_affects_only_its_app(clockwork, two_apps, text):
    schedule("math.floor", 1.5, name="by hand")
    assert sync(clockwork).created == ["app_broken", "app_good"]
    DECLARED.clear()
    two_apps("app_broken", text)
    two_apps("app_good", "from django_q.tasks import scheduled\n@scheduled(minutes=7, name='new')\ndef work(): ...\n")
    changes = sync(clockwork)
    assert changes.modules == ["app_broken.tasks"]
    assert (changes.created, changes.removed) == (["new"], ["app_good"])
    assert set(Schedule.objects.values_list("name", flat=True)) == {"by hand", "app_broken", "new"}
    assert reason_of(changes.broken[0][1])


def test_schedule_of_another_module_stays_while_one_is_broken(clockwork, two_apps):
    """The broken module may declare it."""
    sync(clockwork, {"func": "math.ceil", "minutes": 5})
    DECLARED.clear()
    two_apps("app_broken", "raise ImportError")
    sync(clockwork)
    assert Schedule.objects.filter(name="math.ceil").exists()
