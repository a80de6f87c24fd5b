"""Statistics of clusters, which need no cache that processes share."""

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

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker() -> ORM:
    return ORM("test", settings=ClusterSettings.from_mapping({"orm": "default"}))


@pytest.fixture
def no_cache(settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    settings.Q_CLUSTER = {"name": "test", "orm": "default"}


def test_cluster_is_found_without_a_cache(no_cache: None):
    Stat(7, "a cluster", status="Idle").save()
    assert [(stat.cluster_id, stat.status) for stat in Stat.get_all()] == [("a cluster", "Idle")]
    assert Stat.get("a cluster").status == "Idle"


def test_publishing_again_is_one_statement(broker: ORM):
    broker.set_stat("key", "one", 60)
    with CaptureQueriesContext(connection) as queries:
        broker.set_stat("key", "two", 60)
    assert (len(queries), broker.get_stat("key"), OrmStat.objects.count()) == (1, "two", 1)


def test_looking_is_one_statement(broker: ORM):
    for name in ("a", "b"):
        broker.set_stat(f"prefix:{name}", name, 60)
    with CaptureQueriesContext(connection) as queries:
        assert broker.get_stats("prefix:*") == ["a", "b"]
    assert len(queries) == 1


def test_rows_of_clusters_that_are_gone_are_deleted_when_another_begins(broker: ORM):
    gone = timezone.now() - timedelta(seconds=1)
    OrmStat.objects.bulk_create(OrmStat(key=f"gone {number}", value="x", expires=gone) for number in range(3))
    assert broker.get_stats("gone*") == []
    broker.set_stat("new", "x", 60)
    assert [row.key for row in OrmStat.objects.all()] == ["new"]


def test_project_is_told_from_one_in_capitals(broker: ORM):
    broker.set_stat("django_q:SITE:cluster:1", "theirs", 60)
    broker.set_stat("django_q:site:cluster:2", "ours", 60)
    assert broker.get_stats("django_q:site:cluster:*") == ["ours"]


def test_wild_cards_in_a_name_mean_themselves(broker: ORM):
    broker.set_stat("django_q:a_c:cluster:1", "ours", 60)
    broker.set_stat("django_q:abc:cluster:2", "theirs", 60)
    assert broker.get_stats("django_q:a_c:cluster:*") == ["ours"]
