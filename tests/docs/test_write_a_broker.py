"""The page leads to a broker that passes its suite, is built outside of the workspace, and is found by its name."""

from __future__ import annotations

import subprocess

import pytest

from tests.docs.pages import DOCS, write_project
from tests.docs.projects import follow

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


def test_page_leads_to_a_broker_that_can_be_published(tmp_path):
    followed = follow(PAGE, tmp_path)
    assert " passed" in followed.output["pytest"]
    assert "xfailed" not in followed.output["pytest"]
    assert followed.output["twine check --strict dist/*"].count("PASSED") == 2
    done = subprocess.run([followed.python, "-c", FIND], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["django_q_folder", "package"]


def test_its_test_has_ten_lines(tmp_path):
    write_project(PAGE, tmp_path)
    lines = (tmp_path / "tests" / "test_folder.py").read_text().splitlines()
    assert len([line for line in lines[1:] if line.strip()]) <= 10
