"""A broker of a third party, from its wheel, is found by its entry point, and passes the conformance suite."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.services import Unavailable
from tests.services.environment import build_wheel, fresh_environment
from tests.services.fixtures import missing

HERE = Path(__file__).parent
CORE = HERE.parent.parent / "packages" / "django-q-core"
THEIRS = HERE / "django-q-folder"

FIND = """
from django.conf import settings
settings.configure(Q_CLUSTER={"folder": "."})
from django_q.brokers import get_broker
broker = get_broker("queue")
broker.enqueue("package")
print(type(broker).__module__, broker.dequeue()[0][1])
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A clean environment with the core, their broker and pytest: nothing else."""
    folder = tmp_path_factory.mktemp("third-party")
    try:
        wheels = [build_wheel(project, folder / "dist") for project in (CORE, THEIRS)]
        return fresh_environment(folder / "environment", *map(str, wheels), "pytest") / "python"
    except Unavailable as error:
        missing("environment", error)


def run(python, folder, *command):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DJANGO", "PYTEST", "PYTHON"))}
    done = subprocess.run([python, *command], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_broker_is_found_by_its_entry_point(python, tmp_path):
    assert run(python, tmp_path, "-c", FIND).split() == ["django_q_folder", "package"]


def test_broker_passes_the_suite_without_a_plug_in(python, tmp_path):
    shutil.copy(THEIRS / "tests" / "test_folder.py", tmp_path)
    answer = run(python, tmp_path, "-m", "pytest", "-q", "--strict-markers", "test_folder.py")
    assert " passed" in answer
    assert "xfailed" not in answer


def test_its_test_is_ten_lines(python):
    lines = (THEIRS / "tests" / "test_folder.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 10
