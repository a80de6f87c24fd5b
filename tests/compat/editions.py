"""The public editions' own wheels, each in a throw-away environment: driven from outside, never read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
THEIRS = HERE / "theirs"
GOLDEN = HERE / "golden"
SECRET_KEY = "golden key"
NAME = "golden"


@dataclass(frozen=True)
class Edition:
    """One release of a public edition, with the Django it was made for."""

    distribution: str
    version: str
    companions: tuple[str, ...] = field(default=())

    @property
    def label(self) -> str:
        """Its name in file names and test ids."""
        return f"{self.distribution}-{self.version}"

    @property
    def requirements(self) -> list[str]:
        """Return the requirement for pip."""
        return [f"{self.distribution}=={self.version}", *self.companions]


DJANGO_Q = Edition("django-q", "1.3.9", ("Django>=3.2,<4", "croniter", "psycopg2-binary", "redis<4", "setuptools<81"))
DJANGO_Q2_OLD = Edition("django-q2", "1.5.4", ("Django>=4.2,<5", "croniter", "redis", "setuptools<81"))
DJANGO_Q2 = Edition("django-q2", "1.11.1", ("Django>=5.2,<6", "croniter", "psycopg[binary]", "redis"))
EDITIONS = (DJANGO_Q, DJANGO_Q2_OLD, DJANGO_Q2)


class Cannot(Exception):
    """The edition cannot be installed here."""


class Installed:
    """An edition that can be run."""

    def __init__(self, edition: Edition, folder: Path) -> None:
        self.edition = edition
        self.folder = folder
        self.python = folder / "bin" / "python"
        done = folder / "installed"
        if not done.exists():
            self._install()
            done.touch()

    def write(self, folder: Path, *, compress: bool = False) -> dict[str, str]:
        """Have it queue every case; returns the packages by case."""
        return json.loads(self.run("write.py", folder / "write.sqlite3", compress=compress))

    def fill(self, database: Path) -> dict[str, list[dict[str, Any]]]:
        """Have it make a database full of rows; returns them as its own models show them."""
        return json.loads(self.run("fill.py", database))

    def read(self, packages: dict[str, str]) -> dict[str, Any]:
        """Have it read packages; returns what it says is in them."""
        return json.loads(self.run("read.py", Path(os.devnull), stdin=json.dumps(packages)))

    def work(self, database: Path) -> list[dict[str, Any]]:
        """Have its cluster run what is queued; returns the tasks as its own model shows them."""
        return json.loads(self.run("run.py", database))

    def migrate(self, database: Path, *target: str) -> None:
        """Bring a database as far as one of its migrations."""
        self.run("-m", database, "django", "migrate", "-v0", *target)

    def run(self, script: str, database: Path, *args: str, stdin: str = "", compress: bool = False) -> str:
        """Run one of the scripts in `theirs`, or a module with `-m`."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("DJANGO", "PYTHON"))} | {
            "DJANGO_SETTINGS_MODULE": "their_settings",
            "GOLDEN_COMPRESS": "yes" if compress else "",
            "GOLDEN_DATABASE": str(database),
            "PYTHONPATH": str(THEIRS),
            "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode"),
            "PYTHONWARNINGS": "ignore",
        }
        command = [str(self.python), script if script == "-m" else str(THEIRS / script), *args]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environ, check=False)
        if done.returncode:
            raise AssertionError(f"{self.edition.label}: {script} failed\n{done.stderr[-4000:]}")
        return done.stdout

    def _install(self) -> None:
        interpreter = interpreter_for(self.edition)
        if uv := shutil.which("uv"):
            make = [[uv, "venv", "--quiet", "--clear", "--python", interpreter, str(self.folder)]]
            install = [uv, "pip", "install", "--quiet", "--python", str(self.python)]
        else:
            make = [[interpreter, "-m", "venv", "--clear", str(self.folder)]]
            install = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (*make, [*install, *self.edition.requirements]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Cannot(f"{self.edition.label}: {' '.join(command)}\n{done.stderr[-2000:]}")


def interpreter_for(edition: Edition) -> str:
    """Find a Python that the edition's Django runs on."""
    if edition is DJANGO_Q2 or sys.version_info < (3, 12):
        return sys.executable
    for minor in (11, 10, 9):
        found = shutil.which(f"python3.{minor}")
        if found and not subprocess.run([found, "-V"], check=False, capture_output=True).returncode:
            return found
    raise Cannot(f"{edition.label} needs Python 3.9, 3.10 or 3.11 on the PATH.")
