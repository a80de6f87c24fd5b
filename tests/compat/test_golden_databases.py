"""Databases that the public editions' wheels made are adopted with all their rows."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import connections
from django_q.models import Failure, Schedule, Success, Task
from django_q_orm.models import OrmQ

from tests.compat.conftest import migrate
from tests.compat.editions import GOLDEN
from tests.compat.expected import CASES, columns, expected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODELS = {"Task": Task, "Schedule": Schedule, "OrmQ": OrmQ}
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=sorted(path.stem for path in GOLDEN.glob("*.sql")))
def stored(request, tmp_path: Path) -> tuple[Path, Rows]:
    """A golden database, and its rows as their edition shows them."""
    path = tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((GOLDEN / f"{request.param}.sql").read_text())
    return path, json.loads((GOLDEN / f"{request.param}.rows.json").read_text())


@pytest.fixture
def adopted(stored: tuple[Path, Rows], reach: Callable[[Path], str]) -> tuple[str, Rows]:
    """A golden database after our migrations."""
    path, rows = stored
    alias = reach(path)
    migrate(alias)
    return alias, rows


def test_every_row_is_shown_with_equal_values(adopted: tuple[str, Rows]) -> None:
    alias, rows = adopted
    for name, model in MODELS.items():
        ours = [columns(row) for row in model.objects.using(alias).order_by("pk")]
        theirs = rows[name]
        assert len(ours) == len(theirs)
        for our_row, their_row in zip(ours, theirs, strict=True):
            assert {key: our_row[key] for key in their_row} == their_row


def test_successes_and_failures_are_told_apart(adopted: tuple[str, Rows]) -> None:
    alias, rows = adopted
    failed = [row for row in rows["Task"] if row["success"] == "False"]
    assert Failure.objects.using(alias).count() == len(failed) > 0
    assert Success.objects.using(alias).count() == len(rows["Task"]) - len(failed)


def test_every_queued_package_is_read(adopted: tuple[str, Rows]) -> None:
    alias, _rows = adopted
    tasks = {row.name(): row.task for row in OrmQ.objects.using(alias)}
    wanted = [{"name": case} | expected(case) for case in CASES]
    assert [{key: tasks[want["name"]][key] for key in want} for want in wanted] == wanted


def test_queued_rows_have_no_lease(adopted: tuple[str, Rows]) -> None:
    alias, rows = adopted
    assert OrmQ.objects.using(alias).filter(lease=None).count() == len(rows["OrmQ"])


def test_adopted_tables_are_those_of_a_new_database(
    adopted: tuple[str, Rows], reach: Callable[[Path], str], tmp_path: Path
) -> None:
    fresh = reach(tmp_path / "fresh.sqlite3")
    migrate(fresh)
    assert schema(adopted[0]) == schema(fresh)


def test_nothing_is_left_to_migrate(adopted: tuple[str, Rows]) -> None:
    call_command("migrate", check_unapplied=True, database=adopted[0], verbosity=0)


def test_database_without_the_queue_of_ours_keeps_its_queue(
    stored: tuple[Path, Rows], reach: Callable[[Path], str]
) -> None:
    """django_q_orm may come later, or never."""
    path, rows = stored
    alias = reach(path)
    migrate(alias, "django_q")
    assert "lease" not in schema(alias)["django_q_ormq"]
    migrate(alias, "django_q_orm")
    assert OrmQ.objects.using(alias).count() == len(rows["OrmQ"])


def schema(alias: str) -> dict[str, dict[str, Any]]:
    """Return tables, columns with their types, and indexes."""
    connection = connections[alias]
    found: dict[str, dict[str, Any]] = {}
    with connection.cursor() as cursor:
        for model in MODELS.values():
            table = model._meta.db_table
            described = connection.introspection.get_table_description(cursor, table)
            found[table] = {
                column.name: (column.type_code, column.display_size, column.null_ok, column.default)
                for column in described
            }
            constraints = connection.introspection.get_constraints(cursor, table)
            found[f"{table} indexes"] = {
                name: constraint["columns"] for name, constraint in constraints.items() if constraint["index"]
            }
    return found
