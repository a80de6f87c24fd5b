"""Fixtures of several modules about the Redis broker."""

from __future__ import annotations

import pytest
import redis
from django_q.settings import ClusterSettings
from django_q_redis import Redis


@pytest.fixture
def broker(redis_url: str) -> Redis:
    """Broker of the queue `test` on an empty server."""
    return Redis("test", settings=ClusterSettings.from_mapping({"redis": redis_url}))


@pytest.fixture
def client(redis_url: str):
    """Client of the same server."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
