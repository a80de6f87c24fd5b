"""Redis Cluster: all keys of a queue are on one node."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import redis
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance
from django_q_redis import Redis, stats
from django_q_redis.broker import LARGE_PACKAGE_BYTES
from redis.cluster import RedisCluster

from tests.services.redis_states import out_of_memory
from tests.services.server import stalled

if TYPE_CHECKING:
    from tests.services import RedisCluster as Server

NAMES = [f"queue {number}" for number in range(30)]


@pytest.fixture
def server(redis_cluster_server: Server) -> Server:
    redis_cluster_server.start()
    return redis_cluster_server


@pytest.fixture
def cluster_settings(server: Server) -> ClusterSettings:
    return ClusterSettings.from_mapping({"redis": server.setting})


@pytest.mark.variant
class TestRedisCluster(BrokerConformance):
    @pytest.fixture
    def make_broker(self, cluster_settings: ClusterSettings):
        return lambda list_key: Redis(list_key, settings=cluster_settings)

    @pytest.fixture
    def server(self, server: Server) -> Server:
        return server


def test_queues_are_spread_over_the_nodes(server: Server, cluster_settings: ClusterSettings):
    server.flush()
    for name in NAMES:
        Redis(name, settings=cluster_settings).enqueue("package")
    assert all(int(node.say("DBSIZE").removeprefix(":")) for node in server.nodes)


@pytest.mark.parametrize("name", ["{test}", "a}b", "a{b", "a{}b", "}{", "ü}"])
def test_queue_whose_name_has_braces_is_on_one_node(server: Server, cluster_settings: ClusterSettings, name: str):
    server.flush()
    broker = Redis(name, settings=cluster_settings)
    broker.enqueue_many(["one", "two", "three", "large" * LARGE_PACKAGE_BYTES])
    [one] = broker.dequeue_many(1, 0)
    [two, three, large] = broker.dequeue_many(9, 1)
    assert broker.renew([one.ack_id, large.ack_id]) == []
    assert broker.release(one.ack_id, delay=60)
    assert broker.fail(two.ack_id)
    assert broker.release_many([three.ack_id, large.ack_id]) == []
    assert broker.requeue_dead() == broker.dead_size() + 1
    again = broker.dequeue_many(1, 0) + broker.dequeue_many(1, 1) + broker.dequeue_many(1, 1)
    assert [each.package for each in again] == [b"three", b"large" * LARGE_PACKAGE_BYTES, b"two"]
    assert broker.acknowledge_many([each.ack_id for each in again]) == []
    broker.purge_queue()
    assert [int(node.say("DBSIZE").removeprefix(":")) for node in server.nodes].count(0) >= 2
    broker.delete_queue()
    assert {int(node.say("DBSIZE").removeprefix(":")) for node in server.nodes} == {0}


def test_statistics_are_gathered_from_all_nodes_without_keys(
    server: Server, cluster_settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch
):
    server.flush()
    broker = Redis("test", settings=cluster_settings)
    for node in server.nodes:
        node.say("CONFIG RESETSTAT")
    prefix = cluster_settings.q_stat
    for name in NAMES:
        broker.set_stat(f"{prefix}:{name}", name, 60)
    assert sorted(broker.get_stats(f"{prefix}:*")) == sorted(name.encode() for name in NAMES)
    broker.connection.set(f"{prefix}:theirs", "of another version", ex=60)
    assert b"of another version" in broker.get_stats(f"{prefix}:*")
    monkeypatch.setattr(stats, "MAX_SCANNED_KEYS", 0)
    assert len(broker.get_stats(f"{prefix}:*")) == len(NAMES)
    assert not any("cmdstat_keys" in node.say("INFO commandstats") for node in server.nodes)


def test_push_to_a_node_that_stalls_is_stored_once(server: Server, cluster_settings: ClusterSettings):
    hasty = {**server.setting, "socket_timeout": 0.3}
    broker = Redis("test", settings=ClusterSettings.from_mapping({"redis": hasty}))
    broker.delete_queue()
    port = broker.connection.get_node_from_key(broker.list_key).port
    (node,) = [node for node in server.nodes if node.port == port]
    with stalled(node), pytest.raises(BrokerUnavailable):
        broker.enqueue("package")
    server.start()
    assert Redis("test", settings=cluster_settings).queue_size() <= 1


def test_full_node_is_drained_with_leases(server: Server, cluster_settings: ClusterSettings):
    broker = Redis("test", settings=replace(cluster_settings, poll=0.05))
    broker.delete_queue()
    broker.enqueue_many(["one", "large" * LARGE_PACKAGE_BYTES, "large" * LARGE_PACKAGE_BYTES])
    with ExitStack() as full:
        for node in server.nodes:
            full.enter_context(out_of_memory(node))
        with pytest.raises(BrokerUnavailable, match="OOM"):
            broker.enqueue("package")
        first, second = broker.dequeue_many(1, 1) + broker.dequeue_many(1, 1)
        [third] = broker.dequeue_many(9, 1)
        assert broker.renew([first.ack_id, second.ack_id, third.ack_id]) == []
        assert broker.release(first.ack_id)
        assert [each.package for each in broker.dequeue_many(9, 1)] == [b"one"]
        assert broker.dequeue_many(9, 0.1) == []
        assert broker.acknowledge_many([second.ack_id, third.ack_id]) == []
        assert broker.lock_size() == 1


def test_one_node_of_several_is_enough_to_find_the_others(server: Server):
    nodes = [("127.0.0.1", 1), *server.setting["startup_nodes"]]
    assert Redis("test", settings=ClusterSettings.from_mapping({"redis": {"startup_nodes": nodes}})).ping()


def test_unavailable_cluster_is_no_configuration_error():
    away = ClusterSettings.from_mapping({"redis": {"startup_nodes": [("127.0.0.1", 1)]}})
    assert Redis("test", settings=away).ping() is False
    with pytest.raises(BrokerUnavailable):
        Redis("test", settings=away).enqueue("package")


def test_client_is_one_of_clusters(cluster_settings: ClusterSettings):
    connection = Redis("test", settings=cluster_settings).connection
    assert isinstance(connection, RedisCluster)
    assert not isinstance(connection, redis.Redis)
