"""The reporter of the page about error reporters passes its suite, and faulty ones do not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.variant

REPOSITORY = Path(__file__).parent.parent.parent
PAGE = REPOSITORY / "docs" / "how-to" / "report-errors.md"

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
    config, reporter, suite = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert "error_reporter" in config
    assert LINE in reporter

    def run(body: str) -> subprocess.CompletedProcess[str]:
        body = body.replace("{pid}", "int(os.environ['SUITE'])")
        start = "import os\n\nos.environ.setdefault('SUITE', str(os.getpid()))\n"
        (tmp_path / "my_reporter.py").write_text(start + reporter.replace(LINE, body))
        (tmp_path / "test_console.py").write_text(f"{suite}    timeout_seconds = 0.5\n")
        path = os.pathsep.join([str(REPOSITORY), str(tmp_path)])
        command = ["-m", "pytest", "-qx", "--rootdir", str(tmp_path), "-p", "no:cacheprovider", "-p", "no:xdist"]
        return subprocess.run(
            [sys.executable, *command, str(tmp_path)],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": path},
            cwd=tmp_path,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )

    return run


def test_reporter_of_the_page_passes_the_suite(run_suite) -> None:
    done = run_suite(LINE)
    assert done.returncode == 0, done.stdout
    assert "8 passed, 1 skipped" in done.stdout


@pytest.mark.parametrize("body", FAULTS.values(), ids=FAULTS)
def test_faulty_reporter_fails_the_suite(run_suite, body: str) -> None:
    assert run_suite(body).returncode == 1
