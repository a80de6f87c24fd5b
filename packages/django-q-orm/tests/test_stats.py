"""Statistics of clusters in the database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.settings import ClusterSettings
from django_q.status import Stat
from django_q_orm.broker import ORM
from django_q_orm.models import OrmStat
from django_q_orm.stats import TableStats

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker() -> ORM:
    return ORM("test", settings=ClusterSettings.from_mapping({"orm": "default"}))


@pytest.fixture
def table() -> TableStats:
    return TableStats(connection)


@pytest.fixture
def no_cache(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    settings.Q_CLUSTER = {"name": "test", "orm": "default"}


def test_cluster_is_found_without_a_cache(no_cache: None):
    Stat(7, "a cluster", status="Idle").save()
    assert [(stat.cluster_id, stat.status) for stat in Stat.get_all()] == [("a cluster", "Idle")]
    assert Stat.get("a cluster").status == "Idle"


def test_publishing_again_is_one_statement(table: TableStats):
    table.set("key", "one", 60)
    with CaptureQueriesContext(connection) as queries:
        table.set("key", "two", 60)
    assert (len(queries), table.get("key"), OrmStat.objects.count()) == (1, "two", 1)


def test_reading_is_one_statement(table: TableStats):
    for name in ("a", "b"):
        table.set(f"prefix:{name}", name, 60)
    with CaptureQueriesContext(connection) as queries:
        assert table.all("prefix:*") == ["a", "b"]
    assert len(queries) == 1


def test_expired_rows_are_deleted_when_another_cluster_starts(table: TableStats):
    gone = timezone.now() - timedelta(seconds=1)
    OrmStat.objects.bulk_create(OrmStat(key=f"gone {number}", value="x", expires=gone) for number in range(3))
    assert table.all("gone*") == []
    table.set("new", "x", 60)
    assert [row.key for row in OrmStat.objects.all()] == ["new"]


def test_project_names_are_case_sensitive(table: TableStats):
    table.set("django_q:SITE:cluster:1", "theirs", 60)
    table.set("django_q:site:cluster:2", "ours", 60)
    assert table.all("django_q:site:cluster:*") == ["ours"]


def test_wildcards_in_a_name_are_literal(table: TableStats):
    table.set("django_q:a_c:cluster:1", "ours", 60)
    table.set("django_q:abc:cluster:2", "theirs", 60)
    assert table.all("django_q:a_c:cluster:*") == ["ours"]


def test_statistics_are_in_a_table_and_on_sqlite_in_files(broker: ORM):
    broker.set_stat("key", "value", 60)
    assert (broker.get_stat("key"), broker.get_stats("ke*")) == ("value", ["value"])
    assert OrmStat.objects.exists() == (connection.vendor != "sqlite")
