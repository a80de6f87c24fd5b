"""Published add-ons of the public editions run unchanged, from their own archives on PyPI."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.services import Unavailable
from tests.services.environment import build_wheel, fresh_environment, install, project_environment
from tests.services.error_service import ErrorService
from tests.services.fixtures import missing

PACKAGES = Path(__file__).parent.parent.parent / "packages"
OURS = ("django-q-core", "django-q-orm")
THEIRS = ("django-q-email==5.0.1", "django-q-registry==0.5.0", "django-q-rollbar==0.1.3", "django-q-sentry==0.1.6")
CLIENTS = ("rollbar", "sentry-sdk", "typing-extensions")
"""Libraries that they need and do not require: django-q-registry imports typing-extensions before Python 3.12."""

SETTINGS = """
SECRET_KEY = "add-ons"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django_q", "django_q_orm", "django_q_registry", "jobs"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}}}
EMAIL_BACKEND = "django_q_email.backends.DjangoQBackend"
DJANGO_Q_EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = "mails"
Q_CLUSTER = {{"name": "add-ons", "workers": 1, "orm": "default", "ack_failures": True, "error_reporter": {reporters!r}}}
"""

TASKS = """
from django_q.models import Schedule
from django_q_registry import register_task

@register_task(name="midnight", schedule_type=Schedule.CRON, cron="0 0 * * *")
def tidy():
    return "tidied"

@register_task(name="hourly", schedule_type=Schedule.HOURLY)
def count():
    return 7

def fail():
    raise ValueError("no such thing")
"""


MAKE_DUE = """
from datetime import timedelta
from django.utils import timezone
from django_q.models import Schedule
answer = Schedule.objects.update(next_run=timezone.now() - timedelta(seconds=1))
"""


class Site:
    """Project in a folder, run by the Python of the environment."""

    def __init__(self, python: Path, folder: Path, **reporters: object) -> None:
        self.python, self.folder = python, folder
        (folder / "jobs").mkdir()
        (folder / "jobs" / "__init__.py").touch()
        (folder / "jobs" / "tasks.py").write_text(TASKS)
        (folder / "add_on_settings.py").write_text(SETTINGS.format(reporters=reporters))
        self.manage("migrate", "-v0")

    def manage(self, *arguments: str) -> str:
        """Run a command and return its output."""
        return self._run("-m", "django", *arguments)

    def run(self, code: str) -> object:
        """Run lines that set `answer`, and return it."""
        lines = ["import django, json", "django.setup()", code, "print(json.dumps(answer))"]
        return json.loads(self._run("-c", "\n".join(lines)).splitlines()[-1])

    def work(self) -> None:
        """Execute what is due."""
        self.manage("qcluster", "--burst")

    def _run(self, *arguments: str) -> str:
        environment = project_environment() | {
            "DJANGO_SETTINGS_MODULE": "add_on_settings",
            "PYTHONPATH": str(self.folder),
        }
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment with our wheels and the add-ons. Their requirement, a public edition, is left out."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder, done = base / "add-ons", base / "add-ons.done"
    with (base / "add-ons.lock").open("w") as lock:  # processes that run tests share it
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not done.exists():
                wheels = [build_wheel(PACKAGES / name, base / "add-ons-dist") for name in OURS]
                bin_folder = fresh_environment(folder, *map(str, wheels), *CLIENTS, "setuptools")
                install(bin_folder, "--no-deps", *THEIRS)
                done.touch()
        except Unavailable as error:
            missing("add-ons", error)
    return folder / "bin" / "python"


@pytest.fixture
def service():
    with ErrorService() as service:
        yield service


def test_django_q_email_sends_mails_in_a_task(python, tmp_path):
    site = Site(python, tmp_path)
    sent = site.run(
        "from django.core.mail import send_mail\nanswer = send_mail('A subject', 'Hello', 'a@b.c', ['d@e.f'])"
    )
    assert sent == 1
    assert not (tmp_path / "mails").exists()
    site.work()
    [mail] = (tmp_path / "mails").iterdir()
    assert "Subject: A subject" in mail.read_text()
    assert "To: d@e.f" in mail.read_text()


def test_django_q_registry_keeps_schedules_as_registered(python, tmp_path):
    site = Site(python, tmp_path)
    names = (
        "from django_q.models import Schedule\nanswer = sorted(each.name.split()[0] for each in Schedule.objects.all())"
    )
    for _ in range(2):
        site.manage("setup_periodic_tasks")
        assert site.run(names) == ["hourly", "midnight"]
    site.run(MAKE_DUE)
    site.work()
    results = (
        "from django_q.models import Success\nanswer = sorted({str(task.result) for task in Success.objects.all()})"
    )
    assert site.run(results) == ["7", "tidied"]
    (tmp_path / "jobs" / "tasks.py").write_text(TASKS.partition('@register_task(name="hourly"')[0])
    site.manage("setup_periodic_tasks")
    assert site.run(names) == ["midnight"]


def test_published_django_q_sentry_reports(python, tmp_path, service):
    site = Site(python, tmp_path, sentry={"dsn": service.dsn})
    site.run("from django_q.tasks import async_task\nanswer = async_task('jobs.tasks.fail')")
    site.work()
    exceptions = [event["exception"]["values"][-1] for event in service.events]
    assert [(each["type"], each["value"]) for each in exceptions] == [("ValueError", "no such thing")]


def test_published_django_q_rollbar_reports(python, tmp_path, service):
    site = Site(python, tmp_path, rollbar={"access_token": "t", "environment": "test", "endpoint": service.endpoint})
    site.run("from django_q.tasks import async_task\nanswer = async_task('jobs.tasks.fail')")
    site.work()
    traces = [event["body"].get("trace") or event["body"]["trace_chain"][0] for event in service.events]
    assert [trace["exception"]["class"] for trace in traces] == ["ValueError"]


def test_system_checks_find_no_error(python, tmp_path, service):
    site = Site(python, tmp_path, sentry={"dsn": service.dsn}, rollbar={"access_token": "t"})
    found = site.run("from django.core.checks import run_checks\nanswer = [str(check.id) for check in run_checks()]")
    assert found == ["django_q.W006"]  # of SQLite with the options of Django


def test_check_finds_the_edition_that_an_add_on_has_installed(python, tmp_path):
    """`pip install django-q-registry` installs django-q2, whose files replace ours."""
    folder = tmp_path / "metadata" / "django_q2-1.8.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: django-q2\nVersion: 1.8.0\n")
    (tmp_path / "site").mkdir()
    site = Site(python, tmp_path / "site")
    code = f"""
import sys
sys.path.append({str(folder.parent)!r})
from django.core.checks import run_checks
answer = [[check.id, check.hint] for check in run_checks() if check.id == "django_q.E014"]
"""
    [[_, hint]] = site.run(code)
    assert hint.startswith("pip uninstall django-q2, then pip install --force-reinstall --no-deps django-q-core")
