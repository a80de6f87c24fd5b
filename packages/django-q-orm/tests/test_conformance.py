from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_orm.broker import ORM

if TYPE_CHECKING:
    from tests.services import MariaDB, Postgres


def broker_on(alias: str) -> partial[ORM]:
    return partial(ORM, settings=ClusterSettings.from_mapping({"orm": alias}))


@pytest.mark.django_db(transaction=True)
class TestORM(BrokerConformance):
    """On the project's database: SQLite, unless the tests run on another."""

    @pytest.fixture
    def make_broker(self, transactional_db: None):
        return broker_on("default")


class TestORMOnPostgres(BrokerConformance):
    """On a PostgreSQL that comes and goes."""

    @pytest.fixture
    def make_broker(self, postgres_alias: str):
        return broker_on(postgres_alias)

    @pytest.fixture
    def server(self, postgres_server: Postgres) -> Postgres:
        return postgres_server


class TestORMOnMariaDB(BrokerConformance):
    """On a MariaDB that comes and goes."""

    @pytest.fixture
    def make_broker(self, mariadb_alias: str):
        return broker_on(mariadb_alias)

    @pytest.fixture
    def server(self, mariadb_server: MariaDB) -> MariaDB:
        return mariadb_server
