"""Python environments for servers that are Python programs. They are created once, in a temporary folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.services.server import Unavailable

FOLDER = "DJANGO_Q_TEST_ENVIRONMENTS"
"""Environment variable with the folder of the environments; without it, they are in a temporary folder."""

NEWEST = 14
"""The newest Python 3 that is used."""


@cache
def environment(*requirements: str, python: tuple[int, int] = (3, 11), newest: int = NEWEST) -> Path:
    """Return the `bin` folder of an environment with these requirements, and a Python in these limits."""
    interpreter = interpreter_from(python, newest)
    name = hashlib.sha256("\n".join([interpreter, *requirements]).encode()).hexdigest()[:16]
    parent = Path(os.environ.get(FOLDER) or Path(tempfile.gettempdir()) / f"django-q-environments-{os.getuid()}")
    parent.mkdir(parents=True, exist_ok=True)
    folder, whole = parent / name, parent / name / "whole"
    with (parent / f"{name}.lock").open("w") as lock:
        # Tests that run in parallel want the same one.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, interpreter, requirements)
            whole.touch()
    return folder / "bin"


def fresh_environment(folder: Path, *requirements: str) -> Path:
    """Return the `bin` folder of a new environment of the running Python."""
    _make(folder, sys.executable, requirements)
    return folder / "bin"


def install(bin_folder: Path, *arguments: str) -> None:
    """Install packages into an environment, with arguments of `pip install`."""
    python = str(bin_folder / "python")
    if uv := _uv():
        _run([uv, "pip", "install", "-q", "--python", python, *arguments])
    else:
        _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments])


def build_wheel(project: Path, folder: Path) -> Path:
    """Return the wheel of one of our projects."""
    known = set(folder.glob("*.whl"))
    if uv := _uv():
        _run([uv, "build", "-q", "--wheel", "--out-dir", str(folder), str(project)])
    else:
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, "--wheel-dir", str(folder), str(project)])
    [wheel] = set(folder.glob("*.whl")) - known
    return wheel


def interpreter_from(python: tuple[int, int], newest: int = NEWEST) -> str:
    """Return the running Python if it is within the limits, or else the oldest one of this machine that is."""
    if python <= sys.version_info[:2] <= (3, newest):
        return sys.executable
    for minor in range(python[1], newest + 1):
        if found := _installed(minor):
            return found
    raise Unavailable(f"no Python from {python[0]}.{python[1]} to 3.{newest} is installed")


def newest_interpreter() -> str:
    """Return the newest Python 3 of this machine, outside of virtual environments."""
    newer = map(_installed, range(NEWEST, sys.version_info.minor, -1))
    return next(filter(None, newer), os.path.realpath(sys.executable))


def _installed(minor: int) -> str | None:
    versions = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin"), reverse=True)
    folders = [*map(str, versions), os.environ.get("PATH", "")]
    found = shutil.which(f"python3.{minor}", path=os.pathsep.join(folders))
    return found if found is not None and _runs(found) else None


def _runs(interpreter: str) -> bool:
    """Return True if it is not a shim of pyenv for a disabled version."""
    return subprocess.run([interpreter, "-c", ""], capture_output=True, check=False).returncode == 0


def _make(folder: Path, interpreter: str, requirements: tuple[str, ...]) -> None:
    if uv := _uv():
        _run([uv, "venv", "-q", "--python", interpreter, str(folder)])
    else:
        _run([interpreter, "-m", "venv", str(folder)])
    install(folder / "bin", *requirements)


def _uv() -> str | None:
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_clean())
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:4])} failed: {done.stderr[-500:]}")


def project_environment() -> dict[str, str]:
    """Return our environment variables without those of our tests, for the processes of a project of its own."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("DJANGO", "PYTEST", "PYTHON"))}


def _clean() -> dict[str, str]:
    """Return our environment variables without those by which another Python would find our modules."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
