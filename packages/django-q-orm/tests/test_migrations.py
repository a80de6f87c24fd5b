from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connections

from tests.databases import reachable, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD_TABLE = (
    'CREATE TABLE "django_q_ormq" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "key" varchar(100) NOT NULL, '
    '"payload" text NOT NULL, "lock" datetime NULL)'
)


@pytest.fixture
def fresh(tmp_path, django_db_blocker) -> Iterator[str]:
    """An alias of an empty database."""
    with django_db_blocker.unblock(), reachable("fresh", sqlite(tmp_path / "fresh.sqlite3")) as alias:
        yield alias


def columns(alias: str) -> list[str]:
    with connections[alias].cursor() as cursor:
        described = connections[alias].introspection.get_table_description(cursor, "django_q_ormq")
    return [column.name for column in described]


def indexes(alias: str) -> list[list[str]]:
    with connections[alias].cursor() as cursor:
        constraints = connections[alias].introspection.get_constraints(cursor, "django_q_ormq")
    return [constraint["columns"] for constraint in constraints.values() if constraint["index"]]


@pytest.mark.django_db
def test_models_and_migrations_agree() -> None:
    call_command("makemigrations", "django_q_orm", check_changes=True, dry_run=True, verbosity=0)


def test_database_of_the_queue_alone_needs_nothing_else(fresh: str) -> None:
    """`orm` may name a database that holds nothing but the queue."""
    call_command("migrate", "django_q_orm", database=fresh, verbosity=0)
    assert columns(fresh) == ["id", "key", "payload", "lock", "lease"]
    assert ["key", "lock"] in indexes(fresh)
    assert "django_q_task" not in connections[fresh].introspection.table_names()


def test_queue_that_is_there_is_adopted_with_what_waits_in_it(fresh: str) -> None:
    with connections[fresh].cursor() as cursor:
        cursor.execute(OLD_TABLE)
        cursor.execute("INSERT INTO django_q_ormq (key, payload) VALUES ('default', 'waiting')")
    call_command("migrate", "django_q_orm", database=fresh, verbosity=0)
    with connections[fresh].cursor() as cursor:
        cursor.execute('SELECT "key", payload, "lock", lease FROM django_q_ormq')
        assert cursor.fetchall() == [("default", "waiting", None, None)]
    assert ["key", "lock"] in indexes(fresh)


def test_public_editions_insert_into_the_adopted_queue(fresh: str) -> None:
    call_command("migrate", "django_q_orm", database=fresh, verbosity=0)
    with connections[fresh].cursor() as cursor:
        cursor.execute("INSERT INTO django_q_ormq (\"key\", payload, \"lock\") VALUES ('k', 'p', NULL)")
        cursor.execute("SELECT lease FROM django_q_ormq")
        assert cursor.fetchone() == (None,)
