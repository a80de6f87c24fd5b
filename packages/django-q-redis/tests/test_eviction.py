"""Servers that delete packages when their memory is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.settings import ClusterSettings
from django_q_redis import Redis

from tests.services.redis_states import admin, changed

if TYPE_CHECKING:
    from tests.services import OldRedis, RedisCluster
    from tests.services import Redis as RedisServer

KEEPING = "noeviction", "volatile-lru", "volatile-ttl"
DELETING = "allkeys-lru", "allkeys-lfu", "allkeys-random"


def broker_of(server: RedisServer) -> Redis:
    server.start()
    return Redis("test", settings=ClusterSettings.from_mapping({"redis": getattr(server, "setting", server.url)}))


@pytest.mark.parametrize("policy", DELETING)
def test_policy_that_deletes_packages_is_named(redis_server: RedisServer, policy: str):
    broker = broker_of(redis_server)
    with admin(redis_server) as client, changed(client, **{"maxmemory-policy": policy}):
        [warning] = broker.server_warnings()
    assert policy in warning
    assert "noeviction" in warning


@pytest.mark.parametrize("policy", KEEPING)
def test_policy_that_keeps_packages_needs_no_warning(redis_server: RedisServer, policy: str):
    broker = broker_of(redis_server)
    with admin(redis_server) as client, changed(client, **{"maxmemory-policy": policy}):
        assert broker.server_warnings() == []


def test_oldest_server_reports_its_policy(old_redis_server: OldRedis):
    broker = broker_of(old_redis_server)
    with admin(old_redis_server) as client, changed(client, **{"maxmemory-policy": DELETING[0]}):
        assert len(broker.server_warnings()) == 1


def test_node_of_the_queue_reports_its_policy(redis_cluster_server: RedisCluster):
    broker = broker_of(redis_cluster_server)
    port = broker.connection.get_node_from_key(broker.list_key).port
    for node in redis_cluster_server.nodes:
        with admin(node) as client, changed(client, **{"maxmemory-policy": DELETING[0]}):
            assert len(broker.server_warnings()) == (1 if node.port == port else 0)


@pytest.mark.parametrize("kind", ["redis_server", "old_redis_server"])
def test_user_without_the_permission_gets_no_warning(kind: str, request: pytest.FixtureRequest):
    server = request.getfixturevalue(kind)
    server.start()
    with admin(server) as client, changed(client, **{"maxmemory-policy": DELETING[0]}):
        client.execute_command("ACL", "SETUSER", "asking", "on", ">secret", "~*", "+@all", "-info", "-config")
        try:
            url = server.url.replace("//", "//asking:secret@")
            assert Redis("test", settings=ClusterSettings.from_mapping({"redis": url})).server_warnings() == []
        finally:
            client.execute_command("ACL", "DELUSER", "asking")
