"""The broker of the page, built outside of the workspace, is found by its entry point, and passes its suite."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.docs.pages import DOCS, write_project
from tests.docs.projects import environment_of

pytestmark = pytest.mark.variant

PAGE = DOCS / "how-to" / "write-a-broker.md"

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
    return environment_of(PAGE, tmp_path_factory.mktemp("broker"))


def run(python, folder, *command):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DJANGO", "PYTEST", "PYTHON"))}
    done = subprocess.run([python, *command], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_broker_is_found_by_its_entry_point(python, tmp_path):
    assert run(python, tmp_path, "-c", FIND).split() == ["django_q_folder", "package"]


def test_broker_passes_the_suite_without_a_plug_in(python, tmp_path):
    write_project(PAGE, tmp_path)
    answer = run(python, tmp_path, "-m", "pytest", "-q", "--strict-markers", "tests")
    assert " passed" in answer
    assert "xfailed" not in answer


def test_its_test_has_ten_lines(tmp_path):
    write_project(PAGE, tmp_path)
    lines = (tmp_path / "tests" / "test_folder.py").read_text().splitlines()
    assert len([line for line in lines[1:] if line.strip()]) <= 10
