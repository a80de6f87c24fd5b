"""Follows a tutorial in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.docs.pages import blocks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

REPLACED = re.compile(r"python -m venv|\. \.venv|pip install|cd mysite|createsuperuser|runserver|qcluster")
"""Commands that a test replaces: it has an environment and a folder, and starts processes in the background."""


class TutorialSite:
    """Site that a reader of a tutorial has, built from its commands and files.

    Args:
        page: the tutorial.
        folder: an empty folder.
    """

    def __init__(self, page: Path, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path}
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)
        self.printed = ""
        """Output of the commands."""
        self.prompts: list[str] = []
        """Lines for the Python prompt, in blocks."""
        for block in blocks_of(page, "html+django", "python", "shell"):
            if block.file:
                with (self.folder / block.file).open("a" if block.file.endswith("settings.py") else "w") as file:
                    file.write(block.code)
            elif block.language == "python":
                self.prompts.append(block.code)
            else:
                self._run_all(block.code)

    def _run_all(self, commands: str) -> None:
        for line in commands.splitlines():
            if not REPLACED.search(line):
                self.printed += self.run(*line.split())
            elif line == "cd mysite":
                self.folder /= "mysite"

    def run(self, *arguments: str, text: str = "") -> str:
        """Run a command with some input, and return its output."""
        done = subprocess.run(
            arguments,
            cwd=self.folder, env=self.environment, input=text, text=True, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def running(self, *arguments: str, statuses: Collection[int] = (0,)) -> Iterator[Callable[[], str]]:
        """Run a command of `manage.py` in the background, and yield a function that returns its output.

        Args:
            *arguments: the command.
            statuses: statuses with which it may end after SIGTERM.
        """
        log = self.folder / f"{arguments[0]}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                ["python", "-u", "manage.py", *arguments],
                cwd=self.folder, env=self.environment, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        try:
            yield log.read_text
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) in statuses, log.read_text()
