"""Packages with a priority beside the list of the manual."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from django_q.brokers import FAIR_FETCHES
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_redis import Redis
from django_q_redis.broker import LARGE_PACKAGE_BYTES, MAX_SCRIPT_PACKAGES

from tests.services.redis_states import out_of_memory

if TYPE_CHECKING:
    import redis
    from django_q.brokers import Delivery

    from tests.services import Redis as RedisServer

LIST = "django_q:test:q"
LEASES = "{django_q:test:q}:leases"
NOTES = "{django_q:test:q}:notes"


def broker_for(url: str, **others: object) -> Redis:
    return Redis("test", settings=ClusterSettings.from_mapping({"redis": url, **others}))


def packages(deliveries: list[Delivery]) -> list[str]:
    return [bytes(each.package).decode() for each in deliveries]


def waiting(broker: Redis, wait: float = 10) -> tuple[threading.Thread, list[Delivery]]:
    """Start a fetch in a thread and return it, with the list to which it adds what it gets."""
    found: list[Delivery] = []
    thread = threading.Thread(target=lambda: found.extend(broker.dequeue_many(1, wait)))
    thread.start()
    return thread, found


def blocked(client: redis.Redis) -> int:
    return int(client.info("clients")["blocked_clients"])


@pytest.mark.parametrize("priority", [-100, -1, 1, 100])
def test_settled_packages_with_a_priority_leave_no_keys(broker: Redis, client: redis.Redis, priority: int):
    broker.enqueue_many(["one", "two", "three"], priority=priority)
    broker.enqueue("later", delay=0.01, priority=priority)
    found: list[Delivery] = []
    eventually(lambda: found.extend(broker.dequeue_many(2, 0.1)) or len(found) == 4)
    broker.acknowledge_many([each.ack_id for each in found])
    assert client.keys() == []


@pytest.mark.parametrize("method", ["purge_queue", "delete_queue"])
def test_all_keys_of_priorities_are_deleted(broker: Redis, client: redis.Redis, method: str):
    for priority in (-3, 0, 3, 4):
        broker.enqueue_many(["one", "two"], priority=priority)
    broker.enqueue("later", delay=60, priority=5)
    getattr(broker, method)()
    assert client.keys() == []


def test_each_blocked_consumer_gets_a_package_at_once(redis_url: str, client: redis.Redis):
    consumers = [broker_for(redis_url) for _ in range(4)]
    for consumer in consumers[:2]:  # these lease in advance, the others look first
        consumer.enqueue("before")
        assert consumer.acknowledge_many([each.ack_id for each in consumer.dequeue_many(1, 1)]) == []
    fetches = [waiting(consumer) for consumer in consumers]
    eventually(lambda: blocked(client) == len(consumers))
    started = time.monotonic()
    consumers[0].enqueue_many([f"package {number}" for number in range(4)], priority=-7)
    for thread, _found in fetches:
        thread.join()
    assert time.monotonic() - started < 1
    assert sorted(packages([each for _thread, found in fetches for each in found])) == [
        f"package {number}" for number in range(4)
    ]
    leases = [str(each.ack_id) for _thread, found in fetches for each in found]
    assert all(lease.endswith(":0:-7") for lease in leases)


def test_redelivery_to_a_blocked_consumer_keeps_its_priority(redis_url: str, client: redis.Redis):
    broker, other = broker_for(redis_url), broker_for(redis_url)
    broker.enqueue("package", priority=9)
    [held] = other.dequeue_many(1, 1)
    thread, found = waiting(broker)
    eventually(lambda: blocked(client) == 1)
    assert other.expire(held.ack_id)
    thread.join()
    [(ack_id, package, attempt)] = found
    assert (package, attempt) == (b"package", 2)
    assert str(ack_id).endswith(":1:9")


def test_package_of_a_consumer_that_died_keeps_its_priority(redis_url: str, client: redis.Redis):
    """Kill the consumer after it got the package and before it confirmed its lease."""
    broker = broker_for(redis_url)
    broker.enqueue("package", priority=-5)
    token = "a:0000"
    client.zadd(LEASES, {token: 1})
    assert client.lmove(LIST, f"{LEASES}:{token}", "LEFT", "LEFT") == b"package"
    client.rpush(LIST, "normal")
    found = [each for _ in range(2) for each in broker.dequeue_many(1, 1)]
    assert packages(found) == ["normal", "package"]
    assert [each.attempt for each in found] == [1, 2]
    assert broker.acknowledge_many([each.ack_id for each in found]) == []
    assert client.keys() == []


def test_old_consumer_takes_a_package_with_a_priority(broker: Redis, client: redis.Redis):
    broker.enqueue("package", priority=5)
    assert tuple(client.blpop(LIST, 1)) == (LIST.encode(), b"package")
    assert broker.queue_size() == 0
    assert client.keys() == [NOTES.encode()]
    assert 60_000 < client.pttl(NOTES) <= 30 * 86_400_000
    assert broker.dequeue_many(1, 0) == []
    assert 0 < client.pttl(NOTES) <= 60_000


def test_package_of_an_old_producer_has_priority_0(broker: Redis, client: redis.Redis):
    for priority in (-1, 1):
        broker.enqueue(f"priority {priority}", priority=priority)
        client.rpush(LIST, f"old beside {priority}")
    found = packages([each for _ in range(4) for each in broker.dequeue_many(1, 1)])
    assert found == ["priority 1", "old beside -1", "old beside 1", "priority -1"]


def test_old_consumer_that_empties_the_list_hides_no_package(broker: Redis, client: redis.Redis, redis_url: str):
    broker.enqueue("first", priority=3)
    broker.enqueue_many(["second", "third"], priority=2)
    assert tuple(client.blpop(LIST, 1)) == (LIST.encode(), b"first")
    assert packages(broker.dequeue_many(1, 10)) == ["second"]
    assert packages(broker_for(redis_url).dequeue_many(1, 10)) == ["third"]


def test_clusters_and_an_old_consumer_share_all_priorities(redis_url: str, client: redis.Redis):
    found: list[str] = []
    done = threading.Event()

    def ours() -> None:
        mine = broker_for(redis_url)
        while not done.is_set():
            taken = mine.dequeue_many(5, 0.1)
            found.extend(packages(taken))
            mine.release_many([each.ack_id for each in taken[3:]])
            mine.acknowledge_many([each.ack_id for each in taken[:3]])

    def theirs() -> None:
        while not done.is_set():
            if taken := client.blpop(LIST, 0.1):
                found.append(taken[1].decode())

    consumers = [threading.Thread(target=consume) for consume in (ours, ours, theirs)]
    for consumer in consumers:
        consumer.start()
    sender = broker_for(redis_url)
    sent = [f"package {number}" for number in range(300)]
    for number, package in enumerate(sent):
        sender.enqueue(package, priority=(0, 5, -5, 0, 100)[number % 5])
    try:
        eventually(lambda: set(found) >= set(sent), within=10)
    finally:
        done.set()
        for consumer in consumers:
            consumer.join()
    assert set(found) == set(sent)


def fair(broker: Redis) -> str:
    """Return the first package of the next fair fetch."""
    broker._fetches = FAIR_FETCHES - 1
    return packages(broker.dequeue_many(1, 1))[0]


def test_fair_fetches_take_the_oldest_of_all_lower_priorities(broker: Redis, client: redis.Redis):
    broker.enqueue_many(["high"] * 99, priority=50)
    client.rpush(LIST, "1")
    for package, priority in (("2", -1), ("3", 0), ("4", 1), ("5", -1), ("6", 0), ("7", 0), ("8", 1)):
        broker.enqueue(package, priority=priority)
    assert [fair(broker) for _ in range(8)] == [str(number) for number in range(1, 9)]


def test_packages_of_the_list_that_are_taken_count_for_the_age(broker: Redis):
    broker.enqueue_many([f"before {number}" for number in range(3)])
    broker.enqueue("low", priority=-1)
    broker.enqueue("after")
    held = [*broker.dequeue_many(2, 1), *broker.dequeue_many(1, 1)]
    broker.enqueue("high", priority=1)
    assert broker.release(held[2].ack_id)
    assert [fair(broker), fair(broker)] == ["before 2", "low"]


def test_fair_fetch_takes_one_package_of_a_lower_priority(broker: Redis):
    broker.enqueue_many(["low 1", "low 2"], priority=-1)
    broker.enqueue_many(["high"] * 3, priority=1)
    broker._fetches = FAIR_FETCHES - 1
    assert packages(broker.dequeue_many(4, 1)) == ["low 1", "high", "high", "high"]


def test_thousands_with_a_priority_arrive_in_order(broker: Redis):
    sent = [f"{number}" for number in range(2 * MAX_SCRIPT_PACKAGES + 500)]
    assert len(broker.enqueue_many(sent, priority=8)) == len(sent)
    assert broker.queue_size() == len(sent)
    found = [each for _ in range(3) for each in broker.dequeue_many(MAX_SCRIPT_PACKAGES, 1)]
    assert packages(found) == sent
    assert broker.release_many([each.ack_id for each in found]) == []
    again = [each for _ in range(3) for each in broker.dequeue_many(MAX_SCRIPT_PACKAGES, 1)]
    assert packages(again) == sent


def test_large_packages_with_a_priority_are_moved(broker: Redis, client: redis.Redis):
    large = [str(number) * (LARGE_PACKAGE_BYTES + 1) for number in range(4)]
    broker.enqueue_many(large, priority=-9)
    found = [*broker.dequeue_many(1, 1), *broker.dequeue_many(9, 1)]  # the first fetch does not know the size yet
    assert packages(found) == large
    assert client.hlen("{django_q:test:q}:packages") == 1
    assert broker.acknowledge_many([each.ack_id for each in found]) == []
    assert client.keys() == []


def test_full_server_rejects_priorities_except_of_links(broker: Redis, redis_server: RedisServer):
    with out_of_memory(redis_server):
        with pytest.raises(BrokerUnavailable, match="OOM"):
            broker.enqueue("package", priority=1)
        broker.enqueue_links(["link"], priority=1)
        assert packages(broker.dequeue_many(1, 1)) == ["link"]


def test_normal_path_runs_no_additional_command(broker: Redis, client: redis.Redis):
    """Count the commands of scripts, too."""

    def commands_of(priority: int) -> int:
        broker.enqueue("package", priority=priority)
        before = client.info("stats")["total_commands_processed"], client.info("commandstats")
        found = broker.dequeue_many(1, 0)
        after = client.info("commandstats")
        broker.acknowledge_many([each.ack_id for each in found])
        return sum(
            after[name]["calls"] - before[1].get(name, {"calls": 0})["calls"] for name in after if "info" not in name
        )

    commands_of(0)  # the server knows the scripts
    assert commands_of(0) == 8  # EVALSHA and, in the script, ZRANGE twice, EXISTS, LPOP, TIME, ZADD and HSET
