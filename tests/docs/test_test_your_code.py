"""The project of the page about testing passes its tests, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.docs.pages import DOCS, write_project

pytestmark = pytest.mark.variant

PAGE = DOCS / "how-to" / "test-your-code.md"

SETTINGS = """
SECRET_KEY = "not a secret: for tests only"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django_q"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "TEST": {"NAME": %s}}}
Q_CLUSTER = {"name": "shop", "redis": "redis://127.0.0.1:9"}
"""


@pytest.fixture
def run_project(tmp_path):
    """Return a function that runs the tests of the page; their database is a file, or in memory."""

    def run(database: str | None) -> str:
        write_project(PAGE, tmp_path)
        (tmp_path / "shop_settings.py").write_text(SETTINGS % repr(database))
        command = ["-m", "pytest", "-q", "--rootdir", str(tmp_path), "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run(
            [sys.executable, *command, "--import-mode=importlib", "-o", "pythonpath=.", "shop"],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )
        return done.stdout

    return run


def test_project_of_the_page_passes_its_tests(run_project) -> None:
    output = run_project("test.sqlite3")
    assert "7 passed" in output, output


def test_live_cluster_needs_a_database_that_it_can_read(run_project) -> None:
    output = run_project(None)
    assert "6 passed, 1 error" in output, output
    assert "cannot read a database in memory" in output
