from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_redis import Redis

if TYPE_CHECKING:
    from tests.services import OldRedis
    from tests.services import Redis as RedisServer


def maker(server: RedisServer):
    server.start()
    settings = ClusterSettings.from_mapping({"redis": server.url})
    return lambda list_key: Redis(list_key, settings=settings)


class TestRedis(BrokerConformance):
    """On the newest Valkey."""

    @pytest.fixture
    def make_broker(self, redis_server: RedisServer):
        return maker(redis_server)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server


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
