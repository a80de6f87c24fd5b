"""Projects whose schedules are on each database, and whose tasks wait in the same one, in another, or in Redis."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap

import pytest

from tests.acceptance.migrated import MigratedDatabases
from tests.acceptance.site import Site

PATIENT = {"timeout": 20}
"""Seconds that SQLite waits for its one writer."""


class Project(Site):
    """A site whose scheduler is taken apart."""

    where: str
    """Where its tasks wait: in the `same` database as its schedules, in an `other`, or in `redis`."""

    def start(self, code: str) -> subprocess.Popen:
        """Run Python code in a process of its own."""
        script = "import django, os, signal, sys\ndjango.setup()\n" + textwrap.dedent(code)
        return subprocess.Popen(
            [sys.executable, "-c", script], env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, text=True
        )

    def also(self, settings: str) -> None:
        """Add to the settings."""
        with (self.folder / "site_settings.py").open("a") as file:
            file.write(f"\n{settings}\n")


@pytest.fixture(scope="session")
def migrated(request, tmp_path_factory):
    """Migrated databases of all projects."""
    return MigratedDatabases(request, tmp_path_factory)


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def database(request):
    """The kind of the database of the schedules."""
    return request.param


@pytest.fixture(params=["same", "other", "redis"])
def project(make_project, database, request):
    """A migrated project; the param says where its tasks wait."""
    return make_project(database, request.param)


@pytest.fixture
def one_database(make_project, database):
    """A migrated project whose tasks wait beside its schedules."""
    return make_project(database, "same")


@pytest.fixture
def make_project(request, tmp_path, migrated):
    """Make a migrated project by the kind of its database, and where its tasks wait."""
    made = []

    def make(kind, where):
        q_cluster = {"name": "exactly", "workers": 2, "retry": 60}
        q_cluster |= {"redis": request.getfixturevalue("redis_url")} if where == "redis" else {"orm": "default"}
        if where == "other":
            q_cluster["orm"] = "queue"
        database = sqlite(tmp_path / "db.sqlite3", migrated) if kind == "sqlite" else migrated.server(kind)
        project = Project(tmp_path, q_cluster, database, ("django_q_orm",))
        project.where = where
        if where == "other":
            project.also(f"DATABASES['queue'] = {json.dumps(sqlite(tmp_path / 'queue.sqlite3', migrated))}")
        if kind != "sqlite":
            project.flush()
        made.append(project)
        return project

    yield make
    for each in made:
        each.close()


def sqlite(file, migrated):
    """Make a migrated SQLite database."""
    shutil.copy(migrated.sqlite(), file)
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file), "OPTIONS": PATIENT}
