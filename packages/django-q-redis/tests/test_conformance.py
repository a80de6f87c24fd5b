from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_redis import Redis
from django_q_redis.broker import SHORTEST

if TYPE_CHECKING:
    from django_q.brokers import Delivery

    from tests.services import OldRedis
    from tests.services import Redis as RedisServer


def maker(server: RedisServer, kind: type[Redis] = Redis):
    server.start()
    settings = ClusterSettings.from_mapping({"redis": server.url})
    return lambda list_key: kind(list_key, settings=settings)


class TestRedis(BrokerConformance):
    """On the newest Valkey."""

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


class TestExpectedPackages(BrokerConformance):
    """All that is promised holds for packages that were waited for."""

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


class TestLargePackages(BrokerConformance):
    """All that is promised holds for packages that are moved."""

    @pytest.fixture
    def make_broker(self, redis_server: RedisServer):
        return maker(redis_server, Moving)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server

    def test_that_is_how_they_are_taken(self, broker: Redis):
        broker.enqueue_many(["one", "two"])
        assert all(str(each.ack_id).endswith(":0000") for each in broker.dequeue_many(2, 1))


class TestOldRedis(BrokerConformance):
    """On the oldest Redis that is promised to work."""

    @pytest.fixture
    def make_broker(self, old_redis_server: OldRedis):
        return maker(old_redis_server)

    @pytest.fixture
    def server(self, old_redis_server: OldRedis) -> OldRedis:
        return old_redis_server

    def test_server_is_that_old(self, broker: Redis):
        assert broker.info().startswith("Redis 6.2")
