"""Options of an SQLite file that a site and its clusters share."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import registry
from django.db import connections
from django_q import checks
from django_q.databases.sqlite import release_pages

from tests.databases import reachable, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from django.core.checks import CheckMessage

WAL = {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}
IMMEDIATE = {"transaction_mode": "IMMEDIATE"}


@pytest.fixture
def messages(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[CheckMessage]]:
    """Return a function that runs the check for a database with options."""

    def check(
        options: dict[str, Any], name: str = "db.sqlite3", databases: list[str] | None = None, **cluster: Any
    ) -> list[CheckMessage]:
        settings.Q_CLUSTER = {"name": "test", "orm": "shop", **cluster}
        database = sqlite(tmp_path / name) | {"OPTIONS": options}
        if name.startswith(("file:", ":")):
            database["NAME"] = name
        monkeypatch.setitem(settings.DATABASES, "shop", database)
        monkeypatch.setattr(checks.router, "db_for_write", lambda model: "shop")
        with reachable("shop", database):
            return checks.check_sqlite(None, databases=databases)

    return check


def test_default_options_are_worth_a_warning_with_the_reason(messages):
    [message] = messages({})
    assert (message.id, message.is_serious()) == ("django_q.W006", False)
    assert "'shop'" in message.msg
    assert "'database is locked' if the cluster writes in between" in message.msg
    assert "'transaction_mode': 'IMMEDIATE'" in message.hint
    assert "PRAGMA journal_mode=WAL" in message.hint


def test_present_option_is_not_recommended(messages):
    assert "transaction_mode" not in messages(IMMEDIATE)[0].hint
    assert "init_command" not in messages(WAL)[0].hint


@pytest.mark.parametrize(
    "options",
    [
        IMMEDIATE | WAL,
        {"transaction_mode": "immediate", "init_command": "pragma synchronous=1; pragma JOURNAL_MODE = 'wal';"},
        {"transaction_mode": "EXCLUSIVE", "init_command": "PRAGMA journal_mode(WAL)"},
    ],
)
def test_recommended_options_cause_no_warning(messages, options: dict[str, Any]):
    assert messages(options) == []


def test_file_keeps_the_wal_mode_that_it_was_given_by_hand(messages, tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "db.sqlite3")) as file:
        file.execute("PRAGMA journal_mode=WAL")
    assert messages(IMMEDIATE) == []


def test_file_is_not_created_by_the_check(messages, tmp_path: Path):
    assert messages({})
    assert messages(IMMEDIATE, name=f"file:{tmp_path / 'db.sqlite3'}?mode=rwc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [":memory:", "file:shared?mode=memory&cache=shared"])
def test_database_in_memory_is_shared_with_no_cluster(messages, name: str):
    assert messages({}, name=name) == []


def test_no_warning_without_cluster_or_with_invalid_settings(messages):
    assert messages({}, sync=True) == []
    assert messages({}, workers="4") == []


def test_results_alone_are_enough(messages):
    assert messages({}, orm=None)


def test_database_of_an_alternative_cluster_is_checked(messages):
    [message] = messages({}, orm=None, sync=True, ALT_CLUSTERS={"slow": {"sync": False}})
    assert message.msg.startswith("ALT_CLUSTERS['slow']: ")


@pytest.mark.parametrize(("databases", "number"), [(None, 1), (["shop", "default"], 1), (["default"], 0), ([], 0)])
def test_only_requested_databases_are_checked(messages, databases: list[str] | None, number: int):
    assert len(messages({}, databases=databases)) == number


def test_django_runs_the_check():
    assert checks.check_sqlite in registry.registry.get_checks()


def test_pages_of_a_closed_connection_need_no_release(tmp_path: Path):
    database = sqlite(tmp_path / "db.sqlite3")
    with reachable("shop", database):
        release_pages(connections["shop"])
        assert connections["shop"].connection is None
