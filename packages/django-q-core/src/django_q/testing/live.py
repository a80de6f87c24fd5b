"""Runs a cluster with all of its processes beside a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import ENVIRONMENT_VARIABLE
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from django_q.brokers.memory import MemoryBroker
from django_q.testing.changed_settings import changed_cluster
from django_q.testing.eventually import eventually
from django_q.testing.live_settings import VARIABLE
from django_q.testing.memory_server import MemoryServer

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS: Final = 30.0
"""Maximum time in which a cluster starts."""

STOP_SECONDS: Final = 30.0
"""Maximum time in which a cluster stops."""


class LiveCluster:
    """Cluster that runs beside a test.

    Args:
        process: its outermost process.
        log_file: file with its log.
    """

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.process = process
        self._log_file = log_file

    @property
    def log(self) -> str:
        """Its log."""
        return self._log_file.read_text(errors="replace")


@contextmanager
def live(**settings: Any) -> Iterator[LiveCluster]:
    """Return a context manager that runs a cluster with a broker in memory, on the databases of the tests.

    It is a process of its own: changes that a test makes to settings or objects do not affect it.

    Args:
        **settings: keys of `Q_CLUSTER` that replace those of the project. Their values have a form in JSON.

    Raises:
        ImproperlyConfigured: a database of the tests is in memory, or `DJANGO_SETTINGS_MODULE` is not set.
        RuntimeError: the cluster does not start, or does not stop regularly; the message has its log.
    """
    own = {
        "workers": 1,
        **settings,
        "sync": False,
        "broker_class": f"{MemoryBroker.__module__}.{MemoryBroker.__name__}",
    }
    changes = {"module": settings_module(), "databases": databases(), "q_cluster": own}
    with (
        tempfile.TemporaryDirectory(prefix="django-q-") as folder,
        MemoryServer() as server,
        changed_cluster(**own),
        Path(folder, "log").open("wb") as log,
    ):
        path = os.pathsep.join(filter(None, sys.path))
        environment = {VARIABLE: json.dumps(changes), ENVIRONMENT_VARIABLE: "django_q.testing.live_settings"}
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "qcluster"],
            env={**os.environ, **environment, "PYTHONPATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        cluster = LiveCluster(process, Path(folder, "log"))
        try:
            wait_until_ready(cluster, server)
            yield cluster
        finally:
            stop(process)
        if process.returncode:
            raise RuntimeError(f"The cluster ended with {process.returncode}:\n{cluster.log}")


def wait_until_ready(cluster: LiveCluster, server: MemoryServer) -> None:
    """Wait until the cluster fetches tasks.

    Args:
        cluster: the cluster.
        server: server with its queues.

    Raises:
        RuntimeError: the cluster has ended, or is not ready in time.
    """
    try:
        eventually(lambda: server.has_clients or cluster.process.poll() is not None, within=START_SECONDS)
    except AssertionError as error:
        raise RuntimeError(f"The cluster did not start within {START_SECONDS:g} seconds:\n{cluster.log}") from error
    if cluster.process.poll() is not None:
        raise RuntimeError(f"The cluster did not start:\n{cluster.log}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a cluster, and kill it if it does not stop in time."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def settings_module() -> str:
    """Return the settings module of the tests.

    Raises:
        ImproperlyConfigured: there is none.
    """
    module = os.environ.get(ENVIRONMENT_VARIABLE)
    if not module:
        raise ImproperlyConfigured(f"A live cluster reads the settings module: set {ENVIRONMENT_VARIABLE}.")
    return module


def databases() -> dict[str, str]:
    """Return the names of the databases of the tests, by alias.

    Raises:
        ImproperlyConfigured: one is in memory, so that other processes cannot read it.
    """
    names = {}
    for connection in connections.all():
        if connection.vendor == "sqlite" and connection.is_in_memory_db():  # type: ignore[attr-defined]
            raise ImproperlyConfigured(
                f"A live cluster cannot read a database in memory: set DATABASES[{connection.alias!r}]['TEST'] to "
                "{'NAME': 'test.sqlite3'}."
            )
        names[connection.alias] = str(connection.settings_dict["NAME"])
    return names
