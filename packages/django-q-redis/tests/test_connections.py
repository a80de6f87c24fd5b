"""Number of connections, and waits of threads for a connection."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from django.core.cache import caches
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_redis import Redis
from django_q_redis.client import make_client
from redis.connection import ConnectionPool

from tests.services.redis_states import admin

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.services import Redis as RedisServer
    from tests.services import RedisCluster, RedisSentinel


@pytest.fixture
def root(redis_server: RedisServer, redis_url: str) -> Iterator[redis.Redis]:
    with admin(redis_server) as client:
        yield client


def broker_of(given: object, **others: object) -> Redis:
    return Redis("test", settings=ClusterSettings.from_mapping({"redis": given, **others}))


@pytest.fixture(params=["url", "keywords"])
def single(request: pytest.FixtureRequest, redis_server: RedisServer, redis_url: str) -> Redis:
    """A broker with one connection."""
    if request.param == "url":
        return broker_of(f"{redis_url}?max_connections=1&client_name=url")
    options = {"host": redis_server.host, "port": redis_server.port, "client_name": "keywords"}
    return broker_of({**options, "max_connections": 1}, retry=1)


def connections_of(broker: Redis, root: redis.Redis) -> int:
    """Count the connections of a broker by their name."""
    name = broker.connection.get_connection_kwargs()["client_name"]
    return [each["name"] for each in root.client_list()].count(name)


def do_everything(broker: Redis) -> None:
    """Call each method with another kind of connection."""
    broker.enqueue_many(["one", "two"])
    one, two = broker.dequeue_many(2, 1)
    assert broker.renew([one.ack_id, two.ack_id]) == []
    broker.dequeue_many(1, 0.05)
    assert (broker.queue_size(), broker.lock_size(), broker.dead_size()) == (0, 2, 0)
    assert broker.info()
    assert broker.ping()
    key = f"{broker.settings.q_stat}:{uuid.uuid4()}"
    broker.set_stat(key, "value", 60)
    assert broker.get_stat(key) == b"value"
    assert broker.get_stats(f"{key}*") == [b"value"]
    assert broker.acknowledge_many([one.ack_id, two.ack_id]) == []


def test_one_connection_is_enough_for_everything(single: Redis, root: redis.Redis):
    do_everything(single)
    assert connections_of(single, root) == 1


def test_renewals_in_a_thread_go_on_while_a_fetch_blocks(single: Redis, root: redis.Redis):
    single.enqueue("held")
    [held] = single.dequeue_many(1, 1)
    renewed, ended = [], threading.Event()

    def keep() -> None:
        mine = Redis("test", settings=single.settings)
        while not ended.is_set():
            renewed.append(mine.renew([held.ack_id]))
            time.sleep(0.05)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        for _ in range(8):
            assert single.dequeue_many(1, 0.2) == []
    finally:
        ended.set()
        keeper.join()
    assert len(renewed) >= 7
    assert not any(renewed)
    assert connections_of(single, root) == 1


def test_many_threads_share_the_connection(single: Redis):
    def send() -> None:
        for _ in range(20):
            single.enqueue("package")

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert single.queue_size() == 160


def test_thread_without_a_connection_raises_unavailable(redis_url: str):
    broker = broker_of(f"{redis_url}?max_connections=1&socket_timeout=0.2")
    taken = broker.connection.connection_pool.get_connection()
    with pytest.raises(BrokerUnavailable, match="max_connections"):
        broker.enqueue("package")
    broker.connection.connection_pool.release(taken)
    assert broker.enqueue("package") == 1


def test_broken_connection_is_made_again(single: Redis, root: redis.Redis):
    single.ping()
    root.client_kill_filter(_type="normal", skipme=True)
    assert single.enqueue("package") == 1


def deletes_queue(broker: Redis) -> bool:
    """Delete the queue as soon as the broker has found its master."""
    try:
        broker.delete_queue()
    except BrokerUnavailable:
        return False
    return True


def test_master_of_sentinels_is_reached_over_one_connection(redis_sentinel_server: RedisSentinel):
    redis_sentinel_server.start()
    broker = broker_of({**redis_sentinel_server.setting, "max_connections": 1})
    eventually(lambda: deletes_queue(broker), within=20)
    do_everything(broker)
    fetching = threading.Thread(target=broker.dequeue_many, args=(1, 0.5))
    fetching.start()
    for _ in range(5):
        broker.enqueue("package")
    fetching.join()


def test_nodes_of_a_cluster_are_reached_over_one_connection_each(redis_cluster_server: RedisCluster):
    redis_cluster_server.start()
    broker = broker_of({**redis_cluster_server.setting, "max_connections": 1, "client_name": "cluster"})
    broker.delete_queue()
    do_everything(broker)
    fetching = threading.Thread(target=broker.dequeue_many, args=(1, 1))
    fetching.start()
    for _ in range(20):
        broker.enqueue("package")
    fetching.join()
    assert broker.queue_size() + broker.lock_size() == 20


def test_pool_that_others_use_is_not_emptied(redis_url: str, settings):
    """Expect no kept connection, because the cache of the site would lack it."""
    pytest.importorskip("django_redis")
    options = {"CONNECTION_POOL_KWARGS": {"max_connections": 1}}
    location = f"{redis_url}?client_name=small"  # django-redis keeps a pool for each URL
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "small": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options},
    }
    broker = Redis("test", settings=ClusterSettings.from_mapping({"django_redis": "small"}))
    do_everything(broker)
    caches["small"].set("key", "value")
    assert caches["small"].get("key") == "value"
    do_everything(broker)


def test_without_a_limit_connections_are_kept(redis_url: str):
    client = make_client(ClusterSettings.from_mapping({"redis": redis_url}))
    assert type(client.connection_pool) is ConnectionPool
