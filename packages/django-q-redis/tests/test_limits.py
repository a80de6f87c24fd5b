"""Packages beyond `proto-max-bulk-len`, the maximum size that a server accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.exceptions import BrokerUnavailable, PackageTooLarge
from django_q.settings import ClusterSettings
from django_q_redis import Redis, limits
from django_q_redis.limits import MIN_LIMIT_BYTES, refusal

from tests.services.redis_states import admin, changed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services import Redis as RedisServer
    from tests.services import RedisCluster, RedisSentinel

SIZES = MIN_LIMIT_BYTES + 1, 20 * MIN_LIMIT_BYTES
"""Lengths of a package that is sent before the server closes the connection, and of one that is not."""

SERVERS = {
    "sentinel": "redis_sentinel_server",
    "cluster": "redis_cluster_server",
    "Redis 6.2": "old_redis_server",
}


@pytest.fixture(params=["url", "one connection", "django_redis", "sentinel", "cluster", "Redis 6.2"])
def broker(request: pytest.FixtureRequest, settings) -> Iterator[Redis]:
    """A broker whose server accepts a mebibyte."""
    server: RedisServer | RedisCluster | RedisSentinel = request.getfixturevalue(
        SERVERS.get(request.param, "redis_server")
    )
    server.start()
    server.flush()
    given: dict[str, object] = {"redis": getattr(server, "setting", server.url)}
    if request.param == "one connection":
        given = {"redis": {"host": server.host, "port": server.port, "single_connection_client": True}}
    if request.param == "django_redis":
        pytest.importorskip("django_redis")
        # Clients are kept by the alias of their cache, and other tests use "default" for other servers.
        settings.CACHES = {
            "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
            "limits": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url},
        }
        given = {"django_redis": "limits"}
    broker = Redis("test", settings=ClusterSettings.from_mapping(given))
    with admin(holder(server, broker)) as client, changed(client, **{"proto-max-bulk-len": str(MIN_LIMIT_BYTES)}):
        yield broker


def holder(server: RedisServer | RedisCluster | RedisSentinel, broker: Redis) -> RedisServer:
    """Return the server that has the queue."""
    if hasattr(server, "nodes"):
        port = broker.connection.get_node_from_key(broker.list_key).port
        return next(node for node in server.nodes if node.port == port)
    return getattr(server, "leader", server)


@pytest.mark.parametrize("size", SIZES)
def test_package_that_the_server_does_not_accept_is_too_large(broker: Redis, size: int):
    with pytest.raises(PackageTooLarge):
        broker.enqueue("x" * size)
    with pytest.raises(PackageTooLarge):
        broker.enqueue("x" * size, delay=60)
    with pytest.raises(PackageTooLarge):
        broker.enqueue_links(["link", "x" * size])
    broker.enqueue("accepted")
    assert [each.package for each in broker.dequeue_many(9, 1)] == [b"accepted"]


@pytest.mark.parametrize("size", SIZES)
def test_batch_with_a_package_that_is_too_large_is_not_sent(broker: Redis, size: int):
    broker.enqueue_many(["held", "waiting"])
    (held,) = broker.dequeue_many(1, 1)
    with pytest.raises(PackageTooLarge) as caught:
        broker.enqueue_many(["small", "x" * size, "another"])
    assert caught.value.sent == frozenset()
    assert broker.queue_size() == 1
    assert broker.acknowledge(held.ack_id)


def test_bytes_are_counted_and_not_characters(broker: Redis):
    with pytest.raises(PackageTooLarge):
        broker.enqueue("ß" * (19 * MIN_LIMIT_BYTES // 20))


def test_size_that_the_server_accepts_is_not_refused(broker: Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "REPLY_SECONDS", 0.2)
    assert refusal(broker.connection, broker.list_key, MIN_LIMIT_BYTES) is None
    broker.enqueue("x" * MIN_LIMIT_BYTES)
    assert len(broker.dequeue_many(1, 1)[0].package) == MIN_LIMIT_BYTES


def test_large_package_is_not_too_large_during_an_outage():
    broker = Redis("test", settings=ClusterSettings.from_mapping({"redis": {"port": 1}}))
    with pytest.raises(BrokerUnavailable):
        broker.enqueue("x" * SIZES[1])
