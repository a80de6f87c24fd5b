"""Fixtures for following pages outside of the workspace."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY
from tests.services import Unavailable
from tests.services.environment import build_wheel, newest_interpreter, project_environment
from tests.services.fixtures import missing


@pytest.fixture(scope="session")
def reader(tmp_path_factory) -> dict[str, str]:
    """Environment variables of a reader: `python` is the newest one, and `pip` finds our wheels."""
    wheels, programs = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("programs")
    try:
        for name in ("core", "orm"):
            build_wheel(REPOSITORY / "packages" / f"django-q-{name}", wheels)
    except Unavailable as error:
        missing("environment", error)
    (programs / "python").symlink_to(newest_interpreter())
    clean = project_environment()
    (programs / "uv").symlink_to(Path(sys.executable).with_name("uv"))
    path = os.pathsep.join([str(programs), clean["PATH"]])
    links = {"PIP_FIND_LINKS": str(wheels), "UV_FIND_LINKS": str(wheels)}
    clean.pop("VIRTUAL_ENV", None)  # that of the tests
    return clean | links | {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_COMPILE": "1"}
