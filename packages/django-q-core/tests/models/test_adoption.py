from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connections, migrations, models
from django.db.migrations.state import ProjectState
from django_q.models.adoption import AdoptModel

from tests.databases import reachable, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATION = AdoptModel(
    name="Box",
    fields=[
        ("id", models.AutoField(primary_key=True)),
        ("label", models.CharField(max_length=10)),
        ("weight", models.IntegerField(default=7)),
        ("owner", models.CharField(max_length=10, null=True)),
    ],
    options={"db_table": "old_box"},
)


@pytest.fixture
def connection(tmp_path, django_db_blocker) -> Iterator:
    """Connection to an empty database."""
    with django_db_blocker.unblock(), reachable("adoption", sqlite(tmp_path / "adoption.sqlite3")) as alias:
        yield connections[alias]


def apply(connection, operation: migrations.operations.base.Operation) -> ProjectState:
    before, after = ProjectState(), ProjectState()
    operation.state_forwards("boxes", after)
    with connection.schema_editor() as editor:
        operation.database_forwards("boxes", editor, before, after)
    return after


def rows(connection) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, label, weight, owner FROM old_box")
        return cursor.fetchall()


def test_missing_table_is_created(connection) -> None:
    apply(connection, OPERATION)
    assert rows(connection) == []


def test_existing_table_keeps_rows_and_gets_missing_columns(connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE old_box (id integer PRIMARY KEY, label varchar(10))")
        cursor.execute("INSERT INTO old_box VALUES (3, 'a')")
    apply(connection, OPERATION)
    assert rows(connection) == [(3, "a", 7, None)]


def test_complete_table_is_not_changed(connection) -> None:
    apply(connection, OPERATION)
    apply(connection, OPERATION)
    assert rows(connection) == []


def test_router_can_forbid_the_migration(connection, settings) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE old_box (id integer PRIMARY KEY, label varchar(10))")
    settings.DATABASE_ROUTERS = [type("Nowhere", (), {"allow_migrate": lambda *_args, **_hints: False})()]
    apply(connection, OPERATION)
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, "old_box")
    assert [column.name for column in columns] == ["id", "label"]


def test_plan_describes_the_operation() -> None:
    assert OPERATION.describe() == "Create or adopt model Box"
