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
from django_q_redis.broker import MIN_BLOCKING_SECONDS
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
"""Seconds of a short lease. Redis keeps milliseconds."""


class TestRedis(BrokerConformance):
    """Suite with the newest Valkey."""

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
    """A broker that leases each package as one that arrives during a wait."""

    # A fetch waits only if it has found none, and then leases the first that arrives. `test_priorities` tests that.
    priorities = 1

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        found = super().dequeue_many(limit, wait)
        self.release_many([each.ack_id for each in found])
        return [each for _ in found for each in self._expect(self._raw(), MIN_BLOCKING_SECONDS)]


@pytest.mark.variant
class TestExpectedPackages(BrokerConformance):
    """Suite for packages that arrive during a wait."""

    retry = RETRY

    @pytest.fixture
    def make_broker(self, redis_server: RedisServer):
        return maker(redis_server, Expecting)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server

    def test_tokens_have_number_0000(self, broker: Redis):
        broker.enqueue("package")
        [found] = broker.dequeue_many(1, 1)
        assert str(found.ack_id).endswith(":0000")


class Moving(Redis):
    """A broker that leases each package as a large one, which is moved to a separate list."""

    def _reserve(self, limit: int) -> list[Delivery]:
        self._found_large = True
        return super()._reserve(limit)


@pytest.mark.variant
class TestLargePackages(BrokerConformance):
    """Suite for packages that are moved to separate lists."""

    retry = RETRY

    @pytest.fixture
    def make_broker(self, redis_server: RedisServer):
        return maker(redis_server, Moving)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server

    def test_tokens_have_number_0000(self, broker: Redis):
        broker.enqueue_many(["one", "two"])
        assert all(str(each.ack_id).endswith(":0000") for each in broker.dequeue_many(2, 1))


@pytest.mark.variant
class TestOldRedis(BrokerConformance):
    """Suite with the oldest supported Redis."""

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
    """Promises that may depend on the kind of connection, unlike leases, attempts and waits."""


class TestDjangoRedis(ConnectionConformance):
    """Suite with the connection of a cache of the site."""

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
    """Suite with a master that Redis Sentinel reports. `test_sentinel` tests its end."""

    @pytest.fixture
    def make_broker(self, redis_sentinel_server: RedisSentinel):
        redis_sentinel_server.start()
        ours = ClusterSettings.from_mapping({"redis": redis_sentinel_server.setting})
        return lambda list_key: Redis(list_key, settings=ours)


class TestDjangoRedisWithSentinel(ProcessPromises):
    """Suite with the connection of a cache of the site to a master that Redis Sentinel reports."""

    @pytest.fixture
    def make_broker(self, redis_sentinel_server: RedisSentinel, settings):
        pytest.importorskip("django_redis")
        redis_sentinel_server.start()
        options = {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": redis_sentinel_server.setting["sentinels"],
        }
        location = f"redis://{redis_sentinel_server.service_name}/0?client_name=conformance"  # a pool for each URL
        cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options}
        settings.CACHES = {**settings.CACHES, "watched": cache}
        ours = ClusterSettings.from_mapping({"django_redis": "watched"})
        return lambda list_key: Redis(list_key, settings=ours)
