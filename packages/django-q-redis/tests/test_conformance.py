from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_redis import Redis

if TYPE_CHECKING:
    from tests.services import Redis as RedisServer


class TestRedis(BrokerConformance):
    @pytest.fixture
    def make_broker(self, redis_url: str):
        settings = ClusterSettings.from_mapping({"redis": redis_url})
        return lambda list_key: Redis(list_key, settings=settings)

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server
