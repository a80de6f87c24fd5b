"""The admin's pages with themes for the admin: each page opens, and its buttons can be pressed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.services.fixtures import missing

pytestmark = pytest.mark.variant


@pytest.mark.parametrize("theme", ["unfold", "jazzmin"])
def test_pages_open_and_buttons_are_pressed_with_a_theme(theme: str) -> None:
    pytest.importorskip(theme)
    pytest.importorskip("selenium")
    if shutil.which("chromedriver") is None:
        missing("Chromium", FileNotFoundError("there is no chromedriver"))
    chosen = {"DJANGO_Q_THEME": theme, "DJANGO_SETTINGS_MODULE": "tests.acceptance.theme_settings"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.acceptance.theme_pages"]
    # The child has a test database of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_Q_TEST_")} | chosen
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.splitlines() == ["18 pages"], done.stdout + done.stderr
