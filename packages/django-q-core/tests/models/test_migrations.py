from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from django_q.models import Schedule

from tests.databases import reachable, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLIC = (
    "0001_initial",
    "0002_auto_20150630_1624",
    "0003_auto_20150708_1326",
    "0004_auto_20150710_1043",
    "0005_auto_20150718_1506",
    "0006_auto_20150805_1817",
    "0007_ormq",
    "0008_auto_20160224_1026",
    "0009_auto_20171009_0915",
    "0010_auto_20200610_0856",
    "0011_auto_20200628_1055",
    "0012_auto_20200702_1608",
    "0013_task_attempt_count",
    "0014_schedule_cluster",
    "0015_alter_schedule_schedule_type",
    "0016_schedule_intended_date_kwarg",
    "0017_task_cluster_alter",
    "0018_task_success_index",
    "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more",
)
"""Migrations on which those of other apps may depend."""

DEPENDENT = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("django_q", {name!r})]
    operations = []
"""


@pytest.fixture
def fresh(tmp_path, django_db_blocker) -> Iterator[str]:
    """Alias of an empty database."""
    with django_db_blocker.unblock(), reachable("fresh", sqlite(tmp_path / "fresh.sqlite3")) as alias:
        yield alias


@pytest.fixture(params=["postgres", "mariadb"])
def server(request, django_db_blocker) -> Iterator[str]:
    """Alias of an empty database on a server."""
    database = request.getfixturevalue(f"{request.param}_server").fresh_database()
    with django_db_blocker.unblock(), reachable("server", database) as alias:
        yield alias


@pytest.fixture
def dependent(tmp_path, monkeypatch):
    """Return a function that creates an app whose migration depends on one of Django Q."""

    def make(name: str) -> str:
        folder = tmp_path / "dependent" / "migrations"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").touch()
        (folder / "__init__.py").touch()
        (folder / "0001_initial.py").write_text(DEPENDENT.format(name=name))
        return "dependent"

    monkeypatch.syspath_prepend(str(tmp_path))
    yield make
    for module in [module for module in sys.modules if module.partition(".")[0] == "dependent"]:
        del sys.modules[module]


def recorded(alias: str) -> set[str]:
    return {name for app, name in MigrationRecorder(connections[alias]).applied_migrations() if app == "django_q"}


def indexes(alias: str, table: str) -> set[tuple[str, ...]]:
    with connections[alias].cursor() as cursor:
        constraints = connections[alias].introspection.get_constraints(cursor, table).values()
    return {tuple(constraint["columns"]) for constraint in constraints if constraint["index"]}


@pytest.mark.django_db
def test_models_and_migrations_agree() -> None:
    call_command("makemigrations", "django_q", check_changes=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["django.db.models.AutoField", "django.db.models.BigAutoField"])
def test_default_auto_field_of_the_project_has_no_effect(field: str) -> None:
    with override_settings(DEFAULT_AUTO_FIELD=field):
        call_command("makemigrations", "django_q", check_changes=True, dry_run=True, verbosity=0)


def test_new_database_has_applied_migrations_of_public_editions(fresh: str) -> None:
    call_command("migrate", database=fresh, verbosity=0)
    assert set(PUBLIC) <= recorded(fresh)


def test_new_database_has_no_queue_table_without_plugin(fresh: str) -> None:
    call_command("migrate", "django_q", database=fresh, verbosity=0)
    tables = connections[fresh].introspection.table_names()
    assert "django_q_task" in tables
    assert "django_q_ormq" not in tables


def test_migrations_go_back_to_zero(fresh: str) -> None:
    call_command("migrate", database=fresh, verbosity=0)
    call_command("migrate", "django_q", "zero", database=fresh, verbosity=0)
    assert "django_q_task" not in connections[fresh].introspection.table_names()
    assert recorded(fresh) == set()
    call_command("migrate", database=fresh, verbosity=0)
    assert set(PUBLIC) <= recorded(fresh)


def test_servers_get_the_same_tables_without_warning(server: str) -> None:
    with override_settings(SILENCED_SYSTEM_CHECKS=[]):
        call_command("check", databases=[server], fail_level="WARNING")
    call_command("migrate", database=server, verbosity=0)
    assert indexes(server, "django_q_task") >= {("success", "stopped"), ("group",), ("name",), ("func",)}
    assert ("group", "name", "func") not in indexes(server, "django_q_task")
    assert ("next_run",) in indexes(server, "django_q_schedule")
    call_command("migrate", "django_q", "zero", database=server, verbosity=0)
    call_command("migrate", database=server, verbosity=0)


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("applied", [False, True], ids=["new database", "adopted database"])
def test_dependencies_of_other_apps_resolve(fresh: str, dependent, name: str, applied: bool, settings) -> None:
    if applied:
        recorder = MigrationRecorder(connections[fresh])
        recorder.ensure_schema()
        for done in PUBLIC[:14]:
            recorder.record_applied("django_q", done)
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, dependent(name)]):
        loader = MigrationLoader(connections[fresh])
        loader.check_consistent_history(connections[fresh])
        plan = loader.graph.forwards_plan(("dependent", "0001_initial"))
    assert plan[0] == ("django_q", "0001_squashed_0014_schedule_cluster")
    assert plan[-1] == ("dependent", "0001_initial")


def test_database_of_a_public_edition_has_applied_the_squash(fresh: str) -> None:
    recorder = MigrationRecorder(connections[fresh])
    recorder.ensure_schema()
    for name in PUBLIC:
        recorder.record_applied("django_q", name)
    loader = MigrationLoader(connections[fresh])
    waiting = [
        key for key in loader.graph.forwards_plan(("django_q", "0020_indexes")) if key not in loader.applied_migrations
    ]
    assert waiting == [("django_q", "0020_indexes")]


def test_single_names_are_reserved_and_shared_names_stay(fresh: str) -> None:
    call_command("migrate", "django_q", "0020", database=fresh, verbosity=0)
    with connections[fresh].cursor() as cursor:
        cursor.executemany(
            "INSERT INTO django_q_schedule (name, func, schedule_type, repeats) VALUES (%s, 'math.floor', 'H', -1)",
            [("once",), ("twice",), ("twice",), (None,), ("",), ("",)],
        )
    call_command("migrate", "django_q", database=fresh, verbosity=0)
    rows = Schedule.objects.using(fresh).order_by("pk").values_list("name", "name_key", "overlap", "in_code", "runs")
    assert [row[:2] for row in rows] == [
        ("once", "once"), ("twice", None), ("twice", None), (None, None), ("", None), ("", None),
    ]  # fmt: skip
    assert {row[2:] for row in rows} == {(True, False, 0)}


def test_older_editions_can_still_add_schedules(fresh: str) -> None:
    call_command("migrate", "django_q", database=fresh, verbosity=0)
    with connections[fresh].cursor() as cursor:
        cursor.execute("INSERT INTO django_q_schedule (func, schedule_type, repeats) VALUES ('math.floor', 'H', -1)")
    assert Schedule.objects.using(fresh).values_list("overlap", "in_code", "runs").get() == (True, False, 0)
