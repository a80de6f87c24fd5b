"""Queues with similar names share no package."""

from __future__ import annotations

import json

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django_q.settings import ClusterSettings
from django_q_orm.broker import ORM
from django_q_orm.models import OrmQ

from tests.databases import ask

SIMILAR = ["MAIL", "Mail", "mail ", "máil", "mail\t"]


@pytest.fixture(params=["postgres", "mariadb"])
def server_alias(request: pytest.FixtureRequest, django_db_blocker):
    name = request.getfixturevalue(f"{request.param}_alias")
    with django_db_blocker.unblock():
        yield name
        OrmQ.objects.using(name).all().delete()


def queue(name: str, alias: str) -> ORM:
    return ORM(name, settings=ClusterSettings.from_mapping({"orm": alias, "bulk": 100}))


@pytest.mark.parametrize("name", SIMILAR)
def test_queue_of_a_similar_name_is_another(server_alias: str, name: str):
    check_apart(server_alias, name)


@pytest.mark.django_db
@pytest.mark.parametrize("name", SIMILAR)
def test_similar_name_is_another_queue_in_the_default_database(name: str):
    check_apart("default", name)


def check_apart(alias: str, name: str) -> None:
    mail, other = queue("mail", alias), queue(name, alias)
    mail.enqueue("letter")
    assert (other.queue_size(), other.dequeue_many(9, 0)) == (0, [])
    (letter,) = mail.dequeue_many(9, 0)
    assert (other.lock_size(), mail.lock_size()) == (0, 1)
    assert mail.fail(letter.ack_id)
    assert (other.dead_size(), other.requeue_dead(), mail.dead_size()) == (0, 0, 1)
    other.delete_queue()
    assert mail.requeue_dead() == 1
    other.purge_queue()
    other.delete_queue()
    assert mail.queue_size() == 1


@pytest.mark.parametrize("use_tz", [True, False])
def test_index_finds_the_queue(mariadb_alias: str, settings, django_db_blocker, use_tz: bool):
    settings.USE_TZ = use_tz
    with django_db_blocker.unblock():
        connection = connections[mariadb_alias]
        for name in ("mail", "news"):
            queue(name, mariadb_alias).enqueue_many(["package"] * 1000)
        ask(connection, "ANALYZE TABLE django_q_ormq")
        with CaptureQueriesContext(connection) as queries:
            queue("mail", mariadb_alias).dequeue_many(5, 0)
        (statement,) = [each["sql"] for each in queries if "FOR UPDATE" in each["sql"]]
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN FORMAT=JSON " + statement.replace("%", "%%"))
            plan = json.loads(cursor.fetchone()[0])
        OrmQ.objects.using(mariadb_alias).all().delete()
    assert f'"key": "django_q_ormq_key_{"lock" if use_tz else "due"}"' in json.dumps(plan)
    assert '"filesort"' not in json.dumps(plan)
