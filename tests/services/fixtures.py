"""Fixtures: a server starts when a test first asks for it and ends with the session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

from tests.services import MariaDB, Postgres, Redis, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services import Server

S = TypeVar("S", bound="Server")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A private Redis (or Valkey)."""
    yield from _running(Redis)


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """The URL of an empty Redis (or Valkey)."""
    redis_server.start()
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A private PostgreSQL: not the one that `DJANGO_Q_TEST_DB=postgres` uses."""
    yield from _running(Postgres)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """A private MariaDB: not the one that `DJANGO_Q_TEST_DB=mariadb` uses."""
    yield from _running(MariaDB)


def _running(make: type[S]) -> Iterator[S]:
    server = make()
    try:
        try:
            server.start()
        except (ImportError, Unavailable) as error:
            missing(make.product, error)
        yield server
    finally:
        server.close()


def missing(product: str, error: Exception) -> NoReturn:
    """Skip on a laptop, fail where `DJANGO_Q_SERVICES=required` is set."""
    sentence = f"no {product} for this test: {error}"
    if os.environ.get("DJANGO_Q_SERVICES") == "required":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
