from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest
import redis
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q.testing.conformance.availability import AvailabilityPromises, ProcessPromises, StatisticsPromises
from django_q.testing.conformance.delivery import BulkPromises, DeliveryPromises
from django_q.testing.conformance.queues import DeadLetterPromises, QueuePromises
from django_q.testing.conformance.receipts import ReceiptPromises, ReleasePromises
from django_q_redis import Redis
from django_q_redis.broker import SHORTEST
from django_q_redis.limits import MIN_LIMIT_BYTES
from redis import exceptions

from tests.services.redis_states import admin, changed

if TYPE_CHECKING:
    from django_q.brokers import Delivery

    from tests.services import OldRedis, RedisSentinel
    from tests.services import Redis as RedisServer


def maker(server: RedisServer, kind: type[Redis] = Redis):
    server.start()
    settings = ClusterSettings.from_mapping({"redis": server.url})
    return lambda list_key: kind(list_key, settings=settings)


RETRY = 0.5
"""Seconds of a short lease, which is as exact as any to Redis."""


class TestRedis(BrokerConformance):
    """On the newest Valkey."""

    retry = RETRY
    client_errors = (
        *((kind("no"), BrokerUnavailable) for kind in (redis.ConnectionError, redis.TimeoutError)),
        *((kind("no"), BrokerUnavailable) for kind in (exceptions.AuthenticationError, exceptions.NoPermissionError)),
        *((kind("no"), BrokerUnavailable) for kind in (exceptions.BusyLoadingError, exceptions.MasterDownError)),
        *((kind("no"), BrokerUnavailable) for kind in (exceptions.OutOfMemoryError, exceptions.ReadOnlyError)),
        *((kind("1 host:1"), BrokerUnavailable) for kind in (exceptions.MovedError, exceptions.AskError)),
        *((kind("no"), BrokerUnavailable) for kind in (exceptions.ClusterDownError, exceptions.TryAgainError)),
        *((redis.ResponseError(f"{code} no"), BrokerUnavailable) for code in ("BUSY", "MISCONF", "NOREPLICAS")),
        (redis.ResponseError("UNBLOCKED no"), BrokerUnavailable),
        (redis.ResponseError("max number of clients reached"), BrokerUnavailable),
        (redis.ResponseError("unknown command 'LMOVE'"), BrokerUnavailable),
        (redis.ResponseError("Protocol error: invalid bulk length"), PackageTooLarge),
        *((redis.ResponseError(reply), BrokerError) for reply in ("WRONGTYPE no", "syntax error", "not BUSY")),
        (redis.DataError("no"), BrokerError),
    )

    @pytest.fixture
    def too_large(self, redis_server: RedisServer):
        with admin(redis_server) as client, changed(client, **{"proto-max-bulk-len": str(MIN_LIMIT_BYTES)}):
            yield MIN_LIMIT_BYTES + 1

    @pytest.fixture
    def client_raises(self):
        kind = redis.connection.AbstractConnection
        return lambda broker, error: mock.patch.object(kind, "send_packed_command", side_effect=error)

    @pytest.fixture
    def make_broker(self, redis_server: RedisServer):
        return maker(redis_server)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server


class Expecting(Redis):
    """Takes each package as one that comes while a lease waits for it."""

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        found = super().dequeue_many(limit, wait)
        self.release_many([each.ack_id for each in found])
        return [each for _ in found for each in self._expect(self._line(), SHORTEST)]


@pytest.mark.variant
class TestExpectedPackages(BrokerConformance):
    """All that is promised holds for packages that were waited for."""

    retry = RETRY

    @pytest.fixture
    def make_broker(self, redis_server: RedisServer):
        return maker(redis_server, Expecting)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server

    def test_that_is_how_they_are_taken(self, broker: Redis):
        broker.enqueue("package")
        [found] = broker.dequeue_many(1, 1)
        assert str(found.ack_id).endswith(":0000")


class Moving(Redis):
    """Takes each package as one of the large, which are moved to lists of their own."""

    def _reserve(self, limit: int) -> list[Delivery]:
        self._large = True
        return super()._reserve(limit)


@pytest.mark.variant
class TestLargePackages(BrokerConformance):
    """All that is promised holds for packages that are moved."""

    retry = RETRY

    @pytest.fixture
    def make_broker(self, redis_server: RedisServer):
        return maker(redis_server, Moving)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server

    def test_that_is_how_they_are_taken(self, broker: Redis):
        broker.enqueue_many(["one", "two"])
        assert all(str(each.ack_id).endswith(":0000") for each in broker.dequeue_many(2, 1))


@pytest.mark.variant
class TestOldRedis(BrokerConformance):
    """On the oldest Redis that is promised to work."""

    retry = RETRY

    @pytest.fixture
    def make_broker(self, old_redis_server: OldRedis):
        return maker(old_redis_server)

    @pytest.fixture
    def server(self, old_redis_server: OldRedis) -> OldRedis:
        return old_redis_server

    def test_server_is_that_old(self, broker: Redis):
        assert broker.info().startswith("Redis 6.2")


class ConnectionConformance(
    DeliveryPromises,
    BulkPromises,
    ReceiptPromises,
    ReleasePromises,
    DeadLetterPromises,
    QueuePromises,
    AvailabilityPromises,
    ProcessPromises,
    StatisticsPromises,
):
    """The promises that may depend on the way to the server; leases, attempts and waiting do not."""


class TestDjangoRedis(ConnectionConformance):
    """Over the connection of a cache of the site."""

    @pytest.fixture
    def make_broker(self, redis_server: RedisServer, settings):
        pytest.importorskip("django_redis")
        redis_server.start()
        cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_server.url}
        settings.CACHES = {**settings.CACHES, "own": cache | {"OPTIONS": {"SOCKET_TIMEOUT": 5}}}
        ours = ClusterSettings.from_mapping({"django_redis": "own"})
        return lambda list_key: Redis(list_key, settings=ours)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server


class TestSentinel(ConnectionConformance):
    """With the master that a sentinel names; `test_sentinel` has what happens when it ends."""

    @pytest.fixture
    def make_broker(self, redis_sentinel_server: RedisSentinel):
        redis_sentinel_server.start()
        ours = ClusterSettings.from_mapping({"redis": redis_sentinel_server.setting})
        return lambda list_key: Redis(list_key, settings=ours)


class TestDjangoRedisWithSentinel(ProcessPromises):
    """Over the connection of a cache of the site, to the master that a sentinel names."""

    @pytest.fixture
    def make_broker(self, redis_sentinel_server: RedisSentinel, settings):
        pytest.importorskip("django_redis")
        redis_sentinel_server.start()
        options = {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": redis_sentinel_server.setting["sentinels"],
        }
        location = f"redis://{redis_sentinel_server.service_name}/0"
        cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options}
        settings.CACHES = {**settings.CACHES, "watched": cache}
        ours = ClusterSettings.from_mapping({"django_redis": "watched"})
        return lambda list_key: Redis(list_key, settings=ours)
