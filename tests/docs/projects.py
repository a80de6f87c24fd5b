"""Builds the distribution of a page, outside of the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.docs.pages import REPOSITORY, write_project
from tests.services import Unavailable
from tests.services.environment import build_wheel, fresh_environment
from tests.services.fixtures import missing

if TYPE_CHECKING:
    from pathlib import Path


def environment_of(page: Path, folder: Path) -> Path:
    """Return the Python of a new environment that has only the core, the distribution of the page, and pytest.

    Args:
        page: page with a `pyproject.toml` and the files of a distribution.
        folder: empty folder for the distributions and the environment.
    """
    project = folder / "project"
    project.mkdir(parents=True)
    write_project(page, project)
    try:
        ours = build_wheel(REPOSITORY / "packages" / "django-q-core", folder)
        theirs = build_wheel(project, folder)
        return fresh_environment(folder / "environment", str(ours), f"{theirs}[test]") / "python"
    except Unavailable as error:
        missing("environment", error)
