"""Fixtures: a server starts when a test first uses it, and ends with the session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

from tests.services import (
    Disque,
    IronMQ,
    MariaDB,
    Memcached,
    Ministack,
    Mongo,
    Moto,
    OldRedis,
    Postgres,
    Redis,
    RedisCluster,
    RedisSentinel,
    Unavailable,
)
from tests.services.mongo import GivenMongo
from tests.services.redis import OpenRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.fixture
def open_redis_server() -> Iterator[OpenRedis]:
    """A private Redis (or Valkey) for one test, which may change its settings."""
    yield from _running(OpenRedis)


@pytest.fixture(scope="session")
def old_redis_server() -> Iterator[OldRedis]:
    """A private Redis 6.2."""
    yield from _running(OldRedis)


@pytest.fixture(scope="session")
def redis_sentinel_server() -> Iterator[RedisSentinel]:
    """A private Redis (or Valkey) with a replica and a sentinel."""
    yield from _running(RedisSentinel)


@pytest.fixture(scope="session")
def redis_cluster_server() -> Iterator[RedisCluster]:
    """A private Redis (or Valkey) Cluster."""
    yield from _running(RedisCluster)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A private PostgreSQL: not the one that `DJANGO_Q_TEST_DB=postgres` uses."""
    yield from _running(Postgres)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """A private MariaDB: not the one that `DJANGO_Q_TEST_DB=mariadb` uses."""
    yield from _running(MariaDB)


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[Memcached]:
    """A private Memcached."""
    yield from _running(Memcached)


@pytest.fixture(scope="session")
def ministack_server() -> Iterator[Ministack]:
    """A private SQS: an emulator."""
    yield from _running(Ministack)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Moto]:
    """A private SQS: another emulator."""
    yield from _running(Moto)


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[Mongo]:
    """A private MongoDB, or the one that `MONGO_URL` names."""
    yield from _running(GivenMongo if "MONGO_URL" in os.environ else Mongo)


@pytest.fixture(scope="session")
def ironmq_server() -> Iterator[IronMQ]:
    """A private stand-in of IronMQ, which accepts short reservations."""
    yield from _running(lambda: IronMQ(shortest=1), IronMQ.product)


@pytest.fixture(scope="session")
def disque_server() -> Iterator[Disque]:
    """A private Disque."""
    yield from _running(Disque)


def _running(make: Callable[[], S], product: str = "") -> Iterator[S]:
    server = make()
    try:
        try:
            server.start()
        except (ImportError, Unavailable) as error:
            missing(product or getattr(make, "product", ""), error)
        yield server
    finally:
        server.close()


def missing(product: str, error: Exception) -> NoReturn:
    """Skip the test; let it fail if `DJANGO_Q_SERVICES` is `required`."""
    sentence = f"no {product} for this test: {error}"
    if os.environ.get("DJANGO_Q_SERVICES") == "required":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
