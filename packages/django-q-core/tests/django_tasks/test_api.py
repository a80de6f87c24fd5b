"""The tasks API is optional on Django 5.2."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
sys.modules["django.tasks"] = sys.modules["django_tasks"] = None
import django_q.tasks
try:
    import django_q.backend
except ImportError as error:
    print(error)
"""


def test_one_clear_error_without_the_api() -> None:
    setup = "import django; django.setup()\n"
    done = subprocess.run(
        [sys.executable, "-c", setup + WITHOUT], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "pip install django-tasks" in done.stdout
