"""Separate databases for queues."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services import MariaDB, Postgres


@contextmanager
def queue_database(server: MariaDB | Postgres) -> Iterator[str]:
    alias = f"queue_{server.product}"
    entry = connections.configure_settings({"default": {}, alias: server.fresh_database()})[alias]
    connections.settings[alias] = entry
    try:
        call_command("migrate", "django_q_orm", database=alias, verbosity=0)
        yield alias
    finally:
        connections[alias].close()
        del connections[alias], connections.settings[alias]


@pytest.fixture(scope="module")
def postgres_alias(django_db_setup: None, django_db_blocker, postgres_server: Postgres) -> Iterator[str]:
    """A queue on PostgreSQL."""
    postgres_server.start()
    with django_db_blocker.unblock(), queue_database(postgres_server) as alias:
        yield alias


@pytest.fixture(scope="module")
def mariadb_alias(django_db_setup: None, django_db_blocker, mariadb_server: MariaDB) -> Iterator[str]:
    """A queue on MariaDB."""
    mariadb_server.start()
    with django_db_blocker.unblock(), queue_database(mariadb_server) as alias:
        yield alias
