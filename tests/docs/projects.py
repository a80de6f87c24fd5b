"""Follows a page that leads to a distribution, in an environment outside of the workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.docs.pages import REPOSITORY, blocks_of, write_project
from tests.services import Unavailable
from tests.services.environment import build_wheel, project_environment
from tests.services.fixtures import missing

if TYPE_CHECKING:
    from pathlib import Path

NOT_EXECUTED = "twine upload"
"""Beginning of the only command that is not executed: it publishes."""


class Followed(NamedTuple):
    """Environment and output of the commands of a page."""

    python: Path
    """Python of the environment."""
    output: dict[str, str]
    """Standard output of each command."""


def follow(page: Path, folder: Path) -> Followed:
    """Write the files of a page, execute its commands, and install the wheel that they have built.

    Args:
        page: page with a `pyproject.toml`, the files of a distribution, and commands.
        folder: empty folder.
    """
    project, environment, wheels = folder / "project", folder / "environment", folder / "wheels"
    for each in (project, wheels):
        each.mkdir(parents=True)
    write_project(page, project)
    try:
        build_wheel(REPOSITORY / "packages" / "django-q-core", wheels)
    except Unavailable as error:
        missing("environment", error)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    clean = project_environment()
    clean |= {"PATH": os.pathsep.join([str(environment / "bin"), clean["PATH"]]), "PIP_FIND_LINKS": str(wheels)}
    commands = [line for block in blocks_of(page, "shell") for line in block.code.splitlines()]
    output: dict[str, str] = {}
    for command in [*commands, "pip install --force-reinstall --no-deps dist/*.whl"]:
        if not command.startswith(NOT_EXECUTED):
            done = subprocess.run(
                command, shell=True, cwd=project, env=clean, capture_output=True, text=True, check=False, timeout=250
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            output[command] = done.stdout
    return Followed(environment / "bin" / "python", output)
