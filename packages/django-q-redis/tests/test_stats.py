from __future__ import annotations

import pytest
import redis
from django_q.settings import ClusterSettings
from django_q_redis import Redis, stats

KEY = "django_q:default:cluster"


@pytest.fixture
def broker(redis_url: str) -> Redis:
    return Redis(settings=ClusterSettings.from_mapping({"redis": redis_url}))


@pytest.fixture
def client(redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_cluster_of_another_version_is_found(broker: Redis, client: redis.Redis):
    client.set(f"{KEY}:theirs", "value", ex=3)
    assert broker.get_stats(f"{KEY}:*") == [b"value"]


def test_other_versions_find_our_cluster_and_nothing_else(broker: Redis, client: redis.Redis):
    broker.set_stat(f"{KEY}:ours", "value", 3)
    assert client.keys(f"{KEY}:*") == [f"{KEY}:ours".encode()]


def test_large_database_is_not_searched(broker: Redis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stats, "MAX_SCANNED_KEYS", 0)
    client.set(f"{KEY}:theirs", "value", ex=3)
    broker.set_stat(f"{KEY}:ours", "value", 3)
    client.config_resetstat()
    assert broker.get_stats(f"{KEY}:*") == [b"value"]
    assert not {"cmdstat_keys", "cmdstat_scan"} & client.info("commandstats").keys()


def test_heartbeat_is_one_command(broker: Redis, client: redis.Redis):
    broker.set_stat(f"{KEY}:ours", "value", 3)
    before = client.info("stats")["total_commands_processed"]
    broker.set_stat(f"{KEY}:ours", "value", 3)
    assert client.info("stats")["total_commands_processed"] - before == 2  # the second is this INFO


def test_statistics_take_no_connection_of_their_own(broker: Redis, client: redis.Redis):
    broker.ping()
    before = client.info("stats")["total_connections_received"]
    broker.enqueue("package")
    broker.set_stat(f"{KEY}:ours", "value", 3)
    broker.enqueue("package")
    assert client.info("stats")["total_connections_received"] - before <= 1
