"""The database that `DJANGO_Q_TEST_DB` chooses: sqlite (the default), postgres or mariadb."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.services import MariaDB, Postgres, Server

CHOICE, PORT, FOLDER, NAME = (
    "DJANGO_Q_TEST_DB",
    "DJANGO_Q_TEST_DB_PORT",
    "DJANGO_Q_TEST_FOLDER",
    "DJANGO_Q_TEST_DB_NAME",
)
SERVERS: dict[str, type[MariaDB | Postgres]] = {"mariadb": MariaDB, "postgres": Postgres}


def folder() -> Path:
    """Return the temporary folder of this session. Child processes share it; its maker deletes it."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="django-q-")
        _at_exit(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)
    return Path(os.environ[FOLDER])


def database() -> dict[str, Any]:
    """Return the entry of `DATABASES`. A server is started once; child processes find it by the environment."""
    choice = os.environ.get(CHOICE, "sqlite")
    if choice == "sqlite":
        return _sqlite()
    return _server(choice).database(os.environ.get(NAME, "django_q"))


def _sqlite() -> dict[str, Any]:
    name = os.environ.get(NAME, str(folder() / "db.sqlite3"))
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": {"init_command": "PRAGMA synchronous=OFF", "timeout": 20},  # no test survives a power cut
        "TEST": {"NAME": str(folder() / "test.sqlite3")},
    }


def _server(choice: str) -> MariaDB | Postgres:
    if PORT in os.environ:
        return SERVERS[choice](port=int(os.environ[PORT]))
    server = SERVERS[choice]()
    server.start()
    os.environ[PORT] = str(server.port)
    _at_exit(Server.close, server)
    return server


def _at_exit(function: Any, *arguments: Any, **options: Any) -> None:
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and function(*arguments, **options))
