"""Redis Sentinel: the broker follows the master."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_redis import Redis

if TYPE_CHECKING:
    from tests.services import RedisSentinel


@pytest.fixture
def server(redis_sentinel_server: RedisSentinel) -> RedisSentinel:
    redis_sentinel_server.start()
    redis_sentinel_server.flush()
    return redis_sentinel_server


@pytest.fixture
def broker(server: RedisSentinel) -> Redis:
    return at_its_master(Redis("test", settings=ClusterSettings.from_mapping({"redis": server.setting})))


@pytest.fixture
def borrowing(server: RedisSentinel, settings) -> Redis:
    """Broker that uses the connection of django-redis."""
    pytest.importorskip("django_redis")
    settings.DJANGO_REDIS_CONNECTION_FACTORY = "django_redis.pool.SentinelConnectionFactory"
    options = {
        "CLIENT_CLASS": "django_redis.client.SentinelClient",
        "SENTINELS": server.setting["sentinels"],
    }
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{server.service_name}/0",
            "OPTIONS": options,
        },
    }
    return at_its_master(Redis("test", settings=ClusterSettings.from_mapping({"django_redis": "default"})))


def at_its_master(broker: Redis) -> Redis:
    """Broker whose servers have recovered from earlier tests."""
    eventually(lambda: send(broker, "package") and copied(broker))
    broker.delete_queue()
    return broker


def send(broker: Redis, package: str) -> bool:
    try:
        broker.enqueue(package)
    except BrokerUnavailable:
        return False
    return True


def copied(broker: Redis) -> bool:
    """Return True if the replica has the data of the master."""
    try:
        return broker.connection.wait(1, 1000) == 1
    except redis.RedisError:
        return False


def test_broker_is_unavailable_until_there_is_another_master(broker: Redis, server: RedisSentinel):
    broker.enqueue("before")
    eventually(lambda: copied(broker))
    server.stop()
    try:
        with pytest.raises(BrokerUnavailable):
            broker.enqueue("nowhere")
        eventually(lambda: send(broker, "after"), within=30)
        assert [delivery.package for delivery in broker.dequeue_many(9, 1)] == [b"before", b"after"]
    finally:
        server.start()


def test_packages_and_leases_outlive_a_fail_over(broker: Redis, server: RedisSentinel):
    broker.enqueue_many(["held", "waiting"])
    (held,) = broker.dequeue_many(1, 1)
    eventually(lambda: copied(broker))
    server.fail_over()
    eventually(lambda: send(broker, "after"))
    assert broker.renew([held.ack_id]) == []
    assert [delivery.package for delivery in broker.dequeue_many(9, 1)] == [b"waiting", b"after"]
    assert broker.acknowledge(held.ack_id) is True


def test_connection_of_django_redis_follows_the_master(borrowing: Redis, server: RedisSentinel):
    borrowing.enqueue("before")
    eventually(lambda: copied(borrowing))
    server.fail_over()
    eventually(lambda: send(borrowing, "after"))
    assert [delivery.package for delivery in borrowing.dequeue_many(9, 1)] == [b"before", b"after"]
