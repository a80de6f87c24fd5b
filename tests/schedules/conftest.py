"""Projects whose schedules are on each database, and whose tasks wait in the same one, in another, or in Redis."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

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


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def database(request, tmp_path):
    """An empty database for schedules."""
    if request.param == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3"), "OPTIONS": PATIENT}
    return request.getfixturevalue(f"{request.param}_server").fresh_database()


@pytest.fixture(params=["same", "other", "redis"])
def project(request, database, tmp_path):
    """A migrated project; the param says where its tasks wait."""
    return make(tmp_path, database, request.param, request)


@pytest.fixture
def one_database(request, database, tmp_path):
    """A migrated project whose tasks wait beside its schedules."""
    return make(tmp_path, database, "same", request)


def make(folder, database, where, request) -> Project:
    """Make a project."""
    q_cluster = {"name": "exactly", "workers": 2, "retry": 60}
    q_cluster |= {"redis": request.getfixturevalue("redis_url")} if where == "redis" else {"orm": "default"}
    if where == "other":
        q_cluster["orm"] = "queue"
    project = Project(folder, q_cluster, database, ("django_q_orm",))
    project.where = where
    if "mysql" in database["ENGINE"]:
        project.also("import pymysql; pymysql.install_as_MySQLdb()")
    if where == "other":
        queue = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "queue.sqlite3"), "OPTIONS": PATIENT}
        project.also(f"DATABASES['queue'] = {json.dumps(queue)}")
        project.manage("migrate", "-v0", "--database", "queue")
    project.manage("migrate", "-v0")
    return project
