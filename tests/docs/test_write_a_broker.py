"""The page leads to a broker that passes its suite, is built outside of the workspace, and is found by its name."""

from __future__ import annotations

import pytest

from tests.docs.pages import DOCS, write_project
from tests.docs.terminal import Terminal

pytestmark = pytest.mark.variant

PAGE = DOCS / "how-to" / "write-a-broker.md"

MANY_STEPS = "DJANGO_Q_STEPS=10000 pytest -k random_operations"
REPLACED = {
    'pip install -e ".[test]"': 'uv pip install -q -e ".[test]" pytest-xdist',
    "pytest": "pytest -n 4",  # most of its time is waiting for the ends of leases
    "pip install hypothesis": "uv pip install -q hypothesis",
    MANY_STEPS: MANY_STEPS.replace("10000", "300"),  # takes minutes
    # This one is run in a clone, by the tests of the core.
    "DJANGO_Q_MUTANT=FoldsNames hatch test packages/django-q-core/tests/testing/test_mutants.py": "",
}

FIND = """
from django.conf import settings
settings.configure(Q_CLUSTER={"folder": "."})
from django_q.brokers import get_broker
broker = get_broker("queue")
broker.enqueue("package")
print(type(broker).__module__, broker.dequeue()[0][1])
"""


def test_page_leads_to_a_broker_that_can_be_published(tmp_path, reader):
    terminal = Terminal.publishing(PAGE, tmp_path, reader, REPLACED)
    assert " passed" in terminal.output["pytest"]
    assert "xfailed" not in terminal.output["pytest"]
    assert " 1 passed" in terminal.output[MANY_STEPS]
    assert terminal.output["twine check --strict dist/*"].count("PASSED") == 2
    assert terminal.run("python", text=FIND).split() == ["django_q_folder", "package"]


def test_its_test_has_ten_lines(tmp_path):
    write_project(PAGE, tmp_path)
    lines = (tmp_path / "tests" / "test_folder.py").read_text().splitlines()
    assert len([line for line in lines[1:] if line.strip()]) <= 10
