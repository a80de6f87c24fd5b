from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from django.db import connections
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q.testing.conformance.delivery import DeliveryPromises
from django_q.testing.conformance.receipts import LeasePromises, ReleasePromises
from django_q_orm.broker import ORM

from tests.databases import reachable

if TYPE_CHECKING:
    from tests.services import MariaDB, Postgres


def broker_on(alias: str) -> partial[ORM]:
    return partial(ORM, settings=ClusterSettings.from_mapping({"orm": alias}))


class ORMConformance(BrokerConformance):
    knows_ended_leases = False


@pytest.mark.django_db(transaction=True)
class TestORM(ORMConformance):
    """On the project's database: SQLite, unless the tests run on another."""

    @pytest.fixture
    def make_broker(self, transactional_db: None):
        return broker_on("default")


class TestORMOnPostgres(ORMConformance):
    """On a PostgreSQL that comes and goes."""

    @pytest.fixture
    def make_broker(self, postgres_alias: str):
        return broker_on(postgres_alias)

    @pytest.fixture
    def server(self, postgres_server: Postgres) -> Postgres:
        return postgres_server


class TestORMOnMariaDB(ORMConformance):
    """On a MariaDB that comes and goes."""

    @pytest.fixture
    def make_broker(self, mariadb_alias: str):
        return broker_on(mariadb_alias)

    @pytest.fixture
    def server(self, mariadb_server: MariaDB) -> MariaDB:
        return mariadb_server


class TestORMAtRepeatableRead(DeliveryPromises, LeasePromises):
    """On a MariaDB whose sessions have the isolation level REPEATABLE READ."""

    @pytest.fixture
    def make_broker(self, mariadb_alias: str):
        options = {"charset": "utf8mb4", "isolation_level": "repeatable read"}
        with reachable("repeatable", connections[mariadb_alias].settings_dict | {"OPTIONS": options}) as alias:
            yield broker_on(alias)


@pytest.mark.django_db(transaction=True)
class TestORMInLocalTime(DeliveryPromises, LeasePromises, ReleasePromises):
    """On the project's database, with `USE_TZ = False`."""

    @pytest.fixture
    def make_broker(self, transactional_db: None, settings):
        settings.USE_TZ, settings.TIME_ZONE = False, "America/Chicago"
        return broker_on("default")
