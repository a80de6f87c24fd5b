"""`manage.py qimport celery_beat` reads the tables of django-celery-beat, from its published wheel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.services import Unavailable
from tests.services.environment import build_wheel, fresh_environment, project_environment
from tests.services.fixtures import missing

CORE = Path(__file__).parent.parent.parent / "packages" / "django-q-core"

SETTINGS = """
SECRET_KEY = "beat"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat", "django_q"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
Q_CLUSTER = {"name": "beat", "sync": True, "ALT_CLUSTERS": {"york": {"time_zone": "America/New_York"}}}
"""

FILL = """
import json
from datetime import UTC, datetime
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask
interval = IntervalSchedule.objects.create(every=5, period="minutes")
berlin = CrontabSchedule.objects.create(minute="0", hour="3", day_of_week="1", timezone="Europe/Berlin")
york = CrontabSchedule.objects.create(minute="0", hour="3", timezone="America/New_York")
clocked = ClockedSchedule.objects.create(clocked_time=datetime(2040, 1, 1, tzinfo=UTC))
def make(name, **values):
    PeriodicTask.objects.create(**{"name": name, "task": "math.hypot", "args": "[3, 4]", **values})
make("interval", interval=interval, kwargs=json.dumps({"x": 1}), queue="mail")
make("monday", crontab=berlin)
make("new york", crontab=york)
make("clocked", clocked=clocked, one_off=True)
make("once", crontab=berlin, one_off=True)
make("paused", interval=interval, enabled=False)
make("unknown", interval=interval, task="shop.no_such_task")
answer = PeriodicTask.objects.count()
"""

SHOW = """
from django_q.models import Schedule
names = "schedule_type", "minutes", "cron", "args", "kwargs", "repeats", "cluster"
answer = {row.pop("name"): list(row.values()) for row in Schedule.objects.values("name", *names)}
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A clean environment with the core and django-celery-beat."""
    folder = tmp_path_factory.mktemp("celery-beat")
    try:
        wheel = build_wheel(CORE, folder / "dist")
        return fresh_environment(folder / "environment", str(wheel), "django-celery-beat") / "python"
    except Unavailable as error:
        missing("environment", error)


@pytest.fixture
def run(python, tmp_path):
    """Return a function that runs Python in a migrated site with periodic tasks."""
    (tmp_path / "beat_settings.py").write_text(SETTINGS)
    environment = project_environment() | {"DJANGO_SETTINGS_MODULE": "beat_settings", "PYTHONPATH": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    def answer(code: str):
        done = run("-c", f"import django, json\ndjango.setup()\n{code}\nprint(json.dumps(answer))")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run.answer = answer
    done = run("-m", "django", "migrate", "-v0")
    assert done.returncode == 0, done.stderr
    assert answer(FILL) >= 7
    return run


def test_periodic_tasks_become_schedules(run):
    plan = run("-m", "django", "qimport", "celery_beat", "--dry-run")
    assert "would create: monday (Cron 0 3 * * 1, next run " in plan.stdout
    assert run.answer(SHOW) == {}

    done = run("-m", "django", "qimport", "celery_beat", "--json")
    outcomes = {row["name"]: row["outcome"] for row in json.loads(done.stdout)}
    assert {name for name, outcome in outcomes.items() if outcome == "not imported"} >= {"new york", "unknown"}
    assert done.returncode == 1
    assert "periodic tasks were not imported" in done.stderr
    schedules = run.answer(SHOW)
    assert schedules == {
        "interval": ["I", 5, None, "(3, 4)", "{'x': 1}", -1, "mail"],
        "monday": ["C", None, "0 3 * * 1", "(3, 4)", schedules["monday"][4], -1, None],
        "clocked": ["O", None, None, "(3, 4)", schedules["clocked"][4], -1, None],
        "once": ["C", None, "0 3 * * 1", "(3, 4)", schedules["once"][4], 1, None],
        "paused": ["I", 5, None, "(3, 4)", schedules["paused"][4], 0, None],
    }

    again = run("-m", "django", "qimport", "celery_beat", "--name", "york")
    assert "exists: monday (a schedule has this name)" in again.stdout
    assert "created: new york (Cron 0 3 * * *, next run " in again.stdout
    assert run.answer(SHOW)["new york"][-1] == "york"


def test_missing_app_is_named(run, tmp_path):
    (tmp_path / "beat_settings.py").write_text(SETTINGS.replace('"django_celery_beat", ', ""))
    done = run("-m", "django", "qimport", "celery_beat")
    assert done.returncode == 1
    assert "Add 'django_celery_beat' to INSTALLED_APPS" in done.stderr
