"""The rehearsal before the first fork has no side effects."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from django.db import connections, router
from django.db.backends.signals import connection_created
from django_q import signals
from django_q.cluster import rehearsal
from django_q.models import Task
from django_q.settings import ClusterSettings

SETTINGS = ClusterSettings.from_mapping({"name": "rehearsed"})


@pytest.fixture
def receiver():
    """Fail when a receiver of the project is called."""

    def receive(**_: object) -> None:
        raise AssertionError

    heard = (connection_created, signals.pre_execute, signals.post_execute, signals.post_execute_in_worker)
    for signal in heard:
        signal.connect(receive)
    yield
    for signal in heard:
        signal.disconnect(receive)


@pytest.mark.usefixtures("receiver")
def test_rehearsal_runs_no_project_code_and_opens_no_database():
    """Without the mark `django_db`, a connection would be refused."""
    rehearsal.rehearse(SETTINGS)


def test_rehearsal_ignores_the_options_of_the_database(monkeypatch):
    options = {"init_command": "no statement"}
    connection = connections[router.db_for_write(Task)]
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite is rehearsed")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    rehearsal.rehearse(SETTINGS)


def test_back_end_of_the_project_is_not_rehearsed(monkeypatch):
    """A back end may require options to connect, such as a key."""
    connection = connections[router.db_for_write(Task)]
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "project.encrypted")
    monkeypatch.setattr(type(connection), "get_new_connection", None)
    rehearsal.rehearse(SETTINGS)


def test_rehearsal_installs_no_audit_hook(monkeypatch):
    """A hook cannot be removed again."""
    monkeypatch.setattr(sys, "addaudithook", None)
    rehearsal.rehearse(SETTINGS)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_rehearsal_leaves_no_file_open():
    def count() -> int:
        return len(os.listdir(Path("/proc/self/fd")))  # noqa: PTH208 - the folder changes while it is read

    rehearsal.rehearse(SETTINGS)
    before = count()
    rehearsal.rehearse(SETTINGS)
    assert count() == before
