"""Follows pages in a shell, as a reader does."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django_q.testing import eventually

from tests.docs.pages import blocks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

START_SECONDS = 60
"""Duration in which a command in the background must be ready."""

BY_UV = {
    'pip install -e ".[test]"': 'uv pip install -q -e ".[test]"',
    "pip install build twine": "uv pip install -q build twine",
    "python -m build": "python -m build --installer uv",
}
"""Commands of pages that lead to a distribution, and what does the same in less time."""

INSTALL_WHEEL = "uv pip install -q --force-reinstall --no-deps dist/*.whl"

AFTERWARDS = '\nstatus=$?; printf "%s\\n" "$PWD" "$PATH" "${VIRTUAL_ENV-}" >"$DJANGO_Q_READER"; exit $status'
"""Lines after a command: they save what it has changed for the next one."""


class Terminal:
    """Shell of a reader, whose commands run as printed. They may change its folder and its virtual environment.

    Args:
        folder: folder in which it starts.
        environment: environment variables.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = {**environment}
        self.output: dict[str, str] = {}
        """Output of each command of a page, as it is printed there."""

    def run(self, command: str, text: str = "") -> str:
        """Run a command, and return its output.

        Args:
            command: a line of Bash.
            text: standard input.

        Raises:
            AssertionError: its exit status is not 0.
        """
        with tempfile.NamedTemporaryFile("r") as state:
            done = subprocess.run(
                ["bash", "-c", command + AFTERWARDS],
                cwd=self.folder, env=self.environment | {"DJANGO_Q_READER": state.name},
                input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=250,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}"
            folder, self.environment["PATH"], self.environment["VIRTUAL_ENV"] = state.read().splitlines()
        self.folder = Path(folder)
        return done.stdout

    @contextmanager
    def running(self, command: str, ready: str) -> Iterator[Callable[[], str]]:
        """Run a command until Ctrl-C, and yield a function that returns its output.

        Args:
            command: a line of Bash.
            ready: text of its output when it is ready.

        Raises:
            AssertionError: it was not ready in time, or its exit status is not 0.
        """
        with tempfile.NamedTemporaryFile("w+") as log:

            def output() -> str:
                return Path(log.name).read_text()

            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder, env=self.environment | {"PYTHONUNBUFFERED": "1"}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            try:
                eventually(lambda: ready in output() or process.poll() is not None, within=START_SECONDS)
                yield output
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
                assert process.wait(60) == 0, f"{command}\n{output()}"
            assert ready in output(), output()

    def follow(self, page: Path, replaced: Mapping[str, str]) -> list[str]:
        """Write the files of a page, run its commands, and return its blocks for the Python prompt.

        Args:
            page: page with commands, files and prompts.
            replaced: commands that are not run as printed, and those that are run in their place.
        """
        prompts = []
        for block in blocks_of(page, "html+django", "python", "shell", "toml"):
            if block.file:
                block.write(self.folder)
            elif block.language == "python":
                prompts.append(block.code)
            else:
                for line in block.code.splitlines():
                    if command := replaced.get(line, line):
                        self.output[line] = self.run(command)
        return prompts

    @classmethod
    def publishing(
        cls, page: Path, folder: Path, environment: Mapping[str, str], replaced: Mapping[str, str] | None = None
    ) -> Self:
        """Follow a page that leads to a distribution, and install the wheel instead of uploading it.

        Args:
            page: page with a `pyproject.toml`, the files of a distribution, and commands.
            folder: empty folder.
            environment: environment variables.
            replaced: further commands that are not run as printed, and those that are run in their place.
        """
        terminal = cls(folder, environment)
        terminal.run("uv venv -q --python python .venv && . .venv/bin/activate && mkdir project && cd project")
        terminal.follow(page, BY_UV | {"twine upload dist/*": INSTALL_WHEEL} | (replaced or {}))
        return terminal
