"""The reporter of the page passes its suite, alone in an environment, and faulty ones do not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.docs.pages import DOCS, write_project
from tests.docs.terminal import Terminal
from tests.services.environment import project_environment

pytestmark = pytest.mark.variant

PAGE = DOCS / "how-to" / "write-an-error-reporter.md"
REPORTER = "src/django_q_console/__init__.py"

LINE = "print(self.prefix, error, task_details(), file=sys.stderr)"
SHOWN = "from django_q.context import current_package"

FAULTS = {
    "nothing is sent": "pass",
    "the exception is missing": "print(self.prefix, task_details(), file=sys.stderr)",
    "the task is missing": "print(self.prefix, error, file=sys.stderr)",
    "secrets are sent": f"{SHOWN}; print(error, task_details(), current_package(), file=sys.stderr)",
    "an exception is required": f"sys.exc_info()[1].args; {LINE}",
    "it waits": f"import time; time.sleep(1.2); {LINE}",
    "each is sent twice": f"{LINE}; {LINE}",
    "only one process sends": f"import os; os.getpid() != {{pid}} or {LINE}",
    "exceptions need a text": "print(self.prefix, sys.exc_info()[1], task_details(), file=sys.stderr)",
    "a task is required": f"task_details().keys(); {LINE}",
}
"""Faulty bodies of `report`."""


@pytest.fixture
def run_suite(tmp_path):
    """Return a function that runs the suite of the page with a body of `report`."""
    write_project(PAGE, tmp_path)
    reporter = (tmp_path / REPORTER).read_text()
    assert LINE in reporter

    def run(body: str) -> subprocess.CompletedProcess[str]:
        body = body.replace("{pid}", "int(os.environ['SUITE'])")
        start = "import os\n\nos.environ.setdefault('SUITE', str(os.getpid()))\n"
        (tmp_path / REPORTER).write_text(start + reporter.replace(LINE, body))
        with (tmp_path / "tests" / "test_console.py").open("a") as suite:
            suite.write("    timeout_seconds = 0.5\n")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "tests"],
            env={**project_environment(), "PYTHONPATH": str(tmp_path / "src")},
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )

    return run


def test_page_leads_to_a_distribution_that_can_be_published(tmp_path, reader) -> None:
    terminal = Terminal.publishing(PAGE, tmp_path, reader)
    assert "8 passed, 1 skipped" in terminal.output["pytest"]
    assert terminal.output["twine check --strict dist/*"].count("PASSED") == 2
    load = "from django_q.reporters import REPORTERS; print(REPORTERS.load('console').__module__)"
    assert terminal.run("python", text=load).strip() == "django_q_console"


def test_reporter_of_the_page_passes_the_suite(run_suite) -> None:
    done = run_suite(LINE)
    assert done.returncode == 0, done.stdout
    assert "8 passed, 1 skipped" in done.stdout


@pytest.mark.parametrize("body", FAULTS.values(), ids=FAULTS)
def test_faulty_reporter_fails_the_suite(run_suite, body: str) -> None:
    assert run_suite(body).returncode == 1
