from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest
from django.db import (
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    connections,
)
from django.utils import timezone
from django_q.databases.limits import longest_statement
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q.testing.conformance.attempts import AttemptPromises
from django_q.testing.conformance.delivery import BulkPromises, DeliveryPromises
from django_q.testing.conformance.interleaving import InterleavingPromises
from django_q.testing.conformance.neighbours import NeighbourPromises
from django_q.testing.conformance.queues import DeadLetterPromises, PurgePromises, QueuePromises
from django_q.testing.conformance.receipts import LeasePromises, ReceiptPromises, ReleasePromises
from django_q.testing.conformance.timing import TimingPromises
from django_q_orm import errors
from django_q_orm.broker import ORM

from tests.databases import reachable

if TYPE_CHECKING:
    from tests.services import MariaDB, Postgres


def broker_on(alias: str) -> partial[ORM]:
    return partial(ORM, settings=ClusterSettings.from_mapping({"orm": alias}))


def of_postgres(state: str, kind: type[Error]) -> Error:
    """Return the error that Django raises for a SQLSTATE of PostgreSQL."""
    error = kind("no")
    error.__cause__ = psycopg.errors.lookup(state)("no")
    return error


RETRY = 0.5
"""Seconds of a short lease. Databases keep fractions of a second."""


class ORMConformance(BrokerConformance):
    retry = RETRY
    knows_ended_leases = False
    client_errors = (
        (InterfaceError("no"), BrokerUnavailable),
        (OperationalError("disk I/O error"), BrokerUnavailable),
        (OperationalError("no such table: django_q_ormq"), BrokerUnavailable),
        *((kind("no"), BrokerError) for kind in (DataError, IntegrityError, ProgrammingError)),
    )

    @pytest.fixture
    def client_raises(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(errors, "MAX_PAUSE_SECONDS", 0)

        def client_raises(broker: ORM, error: Exception):
            def raise_it(*_args: object) -> None:
                raise error

            return broker.database.execute_wrapper(raise_it)

        return client_raises

    @pytest.fixture
    def hold_as_old(self, make_broker):
        """Lease a row as django-q2 1.4.10. Older clusters and those of django-q must be stopped first."""

        def hold_as_old(list_key: str, retry: float) -> str | None:
            now, rows = timezone.now(), make_broker(list_key).rows
            row = rows.filter(lock__lte=now).first()
            if row is None or not rows.filter(pk=row.pk, lock=row.lock).update(lock=now + timedelta(seconds=retry)):
                return None
            return row.payload

        return hold_as_old


@pytest.mark.django_db(transaction=True)
class TestORM(ORMConformance):
    """On the database of the project, by default SQLite."""

    @pytest.fixture
    def make_broker(self, transactional_db: None):
        return broker_on("default")


@pytest.mark.variant
class TestORMOnPostgres(ORMConformance):
    """On a PostgreSQL that is stopped and started."""

    client_errors = (
        *ORMConformance.client_errors,
        *((of_postgres(state, OperationalError), BrokerUnavailable) for state in ("08006", "57P01", "53300", "53100")),
        *((of_postgres(state, OperationalError), BrokerUnavailable) for state in ("40001", "40P01", "55P03", "57014")),
        (of_postgres("25006", InternalError), BrokerUnavailable),
        *((of_postgres(state, ProgrammingError), BrokerUnavailable) for state in ("42501", "42703", "42P01")),
        (of_postgres("54000", OperationalError), PackageTooLarge),
        (of_postgres("22001", DataError), BrokerError),
    )

    @pytest.fixture
    def make_broker(self, postgres_alias: str):
        return broker_on(postgres_alias)

    @pytest.fixture
    def server(self, postgres_server: Postgres) -> Postgres:
        return postgres_server


@pytest.mark.variant
class TestORMOnMariaDB(ORMConformance):
    """On a MariaDB that is stopped and started."""

    client_errors = (
        *ORMConformance.client_errors,
        *((OperationalError(code, "no"), BrokerUnavailable) for code in (1021, 1040, 1053, 1290, 2006, 2013)),
        *((OperationalError(code, "no"), BrokerUnavailable) for code in (1020, 1205, 1213)),
        *((ProgrammingError(code, "no"), BrokerUnavailable) for code in (1054, 1142, 1146)),
        (OperationalError(1153, "no"), PackageTooLarge),
        (DataError(1406, "no"), BrokerError),
    )

    @pytest.fixture
    def too_large(self, mariadb_alias: str) -> int | None:
        return longest_statement(connections[mariadb_alias])

    @pytest.fixture
    def make_broker(self, mariadb_alias: str):
        return broker_on(mariadb_alias)

    @pytest.fixture
    def server(self, mariadb_server: MariaDB) -> MariaDB:
        return mariadb_server


@pytest.mark.variant
class TestORMAtRepeatableRead(
    DeliveryPromises,
    BulkPromises,
    ReceiptPromises,
    LeasePromises,
    ReleasePromises,
    DeadLetterPromises,
    PurgePromises,
    NeighbourPromises,
    InterleavingPromises,
):
    """On a MariaDB with the isolation level REPEATABLE READ: promises about several sessions.

    It omits the promises about time, names, sizes, errors and connections, which do not depend on the level.
    """

    retry = RETRY
    knows_ended_leases = False

    @pytest.fixture
    def make_broker(self, mariadb_alias: str):
        options = {"charset": "utf8mb4", "isolation_level": "repeatable read"}
        with reachable("repeatable", connections[mariadb_alias].settings_dict | {"OPTIONS": options}) as alias:
            yield broker_on(alias)


@pytest.mark.django_db(transaction=True)
class TestORMInLocalTime(
    DeliveryPromises,
    TimingPromises,
    ReceiptPromises,
    LeasePromises,
    ReleasePromises,
    AttemptPromises,
    DeadLetterPromises,
    QueuePromises,
    PurgePromises,
    InterleavingPromises,
):
    """On the database of the project with `USE_TZ = False`: promises about times.

    It omits the promises about large batches, names, sizes, errors and connections, which do not depend on times.
    """

    retry = RETRY
    knows_ended_leases = False

    @pytest.fixture
    def make_broker(self, transactional_db: None, settings):
        settings.USE_TZ, settings.TIME_ZONE = False, "America/Chicago"
        return broker_on("default")
