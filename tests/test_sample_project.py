"""The test suite of a project, which uses each helper for tests, passes in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django_q import testing
from django_q.testing import pytest_plugin

from tests.services.environment import project_environment

pytestmark = pytest.mark.variant

PROJECT = Path(__file__).parent / "sample_project"
FOR_PLUGINS = {"BrokerConformance", "MemoryServer", "ReporterConformance", "TaskBackendConformance"}


def test_suite_of_twenty_tests_passes(tmp_path):
    shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.", "--ds=settings", "library"],
        cwd=tmp_path / "project",
        env=project_environment() | {"PYTHONPATH": "."},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert "20 passed" in done.stdout, done.stdout + done.stderr


def test_each_helper_is_used():
    suite = "".join(path.read_text(encoding="utf-8") for path in PROJECT.rglob("test_*.py"))
    fixtures = {"django_q_tasks", "django_q_immediate", "live_cluster"}
    assert all(hasattr(pytest_plugin, each) for each in fixtures)
    assert [each for each in (set(testing.__all__) - FOR_PLUGINS) | fixtures if each not in suite] == []
