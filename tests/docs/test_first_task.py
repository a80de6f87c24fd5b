"""The tutorial works as printed: its commands, files and prompts make a site whose cluster executes the tasks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, blocks_of

pytestmark = pytest.mark.variant

PAGE = DOCS / "tutorial" / "first-task.md"

SKIPPED = re.compile(
    r"python -m venv|\. \.venv|pip install|cd mysite|createsuperuser|runserver|python manage.py qcluster"
)
"""Commands that the test replaces: it has an environment and a folder, and no keyboard."""


@pytest.fixture
def site(tmp_path):
    """Return a function that runs a command in the folder of the tutorial's site, with some input."""
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    folder = tmp_path

    def run(*arguments: str, text: str = "") -> str:
        done = subprocess.run(
            arguments, cwd=folder, env=environment, input=text, text=True, capture_output=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    prompts = []
    for block in blocks_of(PAGE, "shell", "python"):
        if block.language == "shell":
            for line in filter(lambda line: not SKIPPED.search(line), block.code.splitlines()):
                run(*line.split())
            folder = tmp_path / "mysite"
        elif block.file:
            with (folder / block.file).open("a", encoding="utf-8") as file:
                file.write(block.code)
        else:
            prompts.append(block.code)
    log = (tmp_path / "log").open("w+")
    cluster = subprocess.Popen(
        ["python", "manage.py", "qcluster"], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    yield lambda: [run("python", "manage.py", "shell", text=f"{prompt}\n") for prompt in prompts]
    cluster.send_signal(signal.SIGTERM)
    assert cluster.wait(60) == 0
    log.seek(0)
    printed = log.read()
    log.close()
    assert "finished: to: 2" in printed
    assert "Processed 'mysite.tasks.most_common_word'" in printed


def test_tutorial_works_as_printed(site) -> None:
    success, failure = site()
    assert "to: 2" in success.splitlines()
    assert "ValueError: not enough values to unpack" in failure
