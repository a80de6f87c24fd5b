from __future__ import annotations

import os
import signal
import threading
import time
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest
from django_q.brokers import PackageState
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_redis import Redis
from django_q_redis.broker import LARGE_PACKAGE_BYTES
from redis.crc import key_slot

from tests.services.server import stalled

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    from django_q.brokers import Delivery

    from tests.services import Redis as RedisServer

LIST = "django_q:test:q"
LEASES = "{django_q:test:q}:leases"
PACKAGES = "{django_q:test:q}:packages"
ATTEMPTS = "{django_q:test:q}:attempts"


def broker_for(url: str, **others: object) -> Redis:
    return Redis("test", settings=ClusterSettings.from_mapping({"redis": url, **others}))


def test_list_is_called_as_in_the_manual(broker: Redis):
    assert broker.list_key == LIST


def test_package_of_an_old_producer_arrives(broker: Redis, client: redis.Redis):
    client.rpush(LIST, "package")
    assert broker.dequeue_many(1, 1)[0].package == b"package"


def test_old_consumer_leases_a_package_and_leaves_no_keys(broker: Redis, client: redis.Redis):
    broker.enqueue("package")
    assert tuple(client.blpop(LIST, 1)) == (LIST.encode(), b"package")
    assert client.keys() == []


def test_settled_packages_leave_no_keys(broker: Redis, client: redis.Redis):
    broker.enqueue_many(["one", "two"])
    broker.enqueue("later", delay=0.01)
    found = []
    eventually(lambda: found.extend(broker.dequeue_many(9, 0.1)) or len(found) == 3)
    broker.acknowledge_many([delivery.ack_id for delivery in found])
    assert client.keys() == []


def test_clusters_and_an_old_consumer_share_without_loss(broker: Redis, redis_url: str, client: redis.Redis):
    found: list[bytes] = []
    done = threading.Event()

    def ours() -> None:
        mine = broker_for(redis_url)
        while not done.is_set():
            taken = mine.dequeue_many(5, 0.1)
            found.extend(delivery.package for delivery in taken)
            mine.acknowledge_many([delivery.ack_id for delivery in taken])

    def theirs() -> None:
        while not done.is_set():
            if taken := client.blpop(LIST, 0.1):
                found.append(taken[1])

    consumers = [threading.Thread(target=consume) for consume in (ours, ours, theirs)]
    for consumer in consumers:
        consumer.start()
    for number in range(300):
        broker.enqueue(f"package {number}")
    try:
        eventually(lambda: len(found) >= 300)
    finally:
        done.set()
        for consumer in consumers:
            consumer.join()
    assert sorted(found) == sorted(f"package {number}".encode() for number in range(300))


def test_expired_leases_go_to_the_head_oldest_first(redis_url: str):
    broker = broker_for(redis_url, retry=2)
    broker.enqueue_many(["one", "two", "three", "four"])
    broker.dequeue_many(1, 1)
    broker.dequeue_many(2, 1)
    time.sleep(2.1)  # both leases expire
    assert [delivery.package for delivery in broker.dequeue_many(9, 1)] == [b"one", b"two", b"three", b"four"]


def test_thousands_are_settled_at_once(broker: Redis):
    broker.enqueue_many(["package"] * 2500)
    found = []
    while len(found) < 2500:
        found += broker.dequeue_many(2500, 1)
    ids = [delivery.ack_id for delivery in found]
    assert broker.renew(ids) == []
    assert broker.acknowledge_many(ids) == []
    assert broker.lock_size() == 0


def test_thousands_of_expired_leases_are_redelivered(redis_url: str):
    broker = broker_for(redis_url, retry=0.2)
    broker.enqueue_many(["package"] * 2500)
    while broker.dequeue_many(2500, 0):
        pass
    found: list[object] = []
    eventually(lambda: found.extend(broker.dequeue_many(2500, 0.1)) or len(found) >= 2500)


def test_thousands_of_expired_leases_are_redelivered_in_order(redis_url: str, client: redis.Redis):
    broker = broker_for(redis_url)
    sent = [f"{number}" for number in range(2500)]
    broker.enqueue_many(sent)
    for _ in range(3):
        broker.dequeue_many(1000, 1)
    client.zadd(LEASES, dict.fromkeys(client.zrange(LEASES, 0, -1), 1))
    other = broker_for(redis_url)
    found = [each.package.decode() for _ in range(250) for each in other.dequeue_many(10, 1)]
    assert found == sent


def expired(url: str, *packages: str) -> None:
    """Send packages and let a lease of each expire."""
    lease = 0.01
    broker = broker_for(url, retry=lease)
    broker.enqueue_many(packages)
    assert len(broker.dequeue_many(9, 1)) == len(packages)
    time.sleep(2 * lease)


def test_attempts_are_deleted_with_their_package(broker: Redis, redis_url: str, client: redis.Redis):
    expired(redis_url, "one", "two", "three")
    one, two, three = broker.dequeue_many(9, 1)
    assert [each.attempt for each in (one, two, three)] == [2, 2, 2]
    broker.acknowledge(one.ack_id)
    broker.release(two.ack_id, delay=60)
    broker.fail(three.ack_id)
    assert client.hvals(ATTEMPTS) == [b"2"]


def test_attempts_are_deleted_after_a_month(redis_url: str, broker: Redis, client: redis.Redis):
    expired(redis_url, "package")
    broker.dequeue_many(9, 1)
    client.pexpire(ATTEMPTS, 1000)
    expired(redis_url, "another")
    broker.dequeue_many(9, 1)
    assert 30 * 86_400_000 - 60_000 < client.pttl(ATTEMPTS) <= 30 * 86_400_000 + 60_000


@pytest.mark.parametrize("package", ["held", "held" * LARGE_PACKAGE_BYTES])
def test_purge_deletes_attempts_except_those_of_leased_packages(
    redis_url: str, broker: Redis, client: redis.Redis, package: str
):
    expired(redis_url, package, "purged")
    held, purged = broker.dequeue_many(9, 1)
    broker.release(purged.ack_id)
    assert client.hlen(ATTEMPTS) == 2
    broker.purge_queue()
    assert client.hlen(ATTEMPTS) == 1
    assert client.pttl(ATTEMPTS) > 0
    broker.release(held.ack_id)
    [again] = broker.dequeue_many(9, 1)
    assert again.attempt == 2
    broker.acknowledge(again.ack_id)
    assert client.keys() == []


def test_purge_deletes_all_keys_of_packages_without_lease(redis_url: str, broker: Redis, client: redis.Redis):
    expired(redis_url, "package")
    broker.release(broker.dequeue_many(1, 1)[0].ack_id)
    broker.purge_queue()
    assert client.keys() == []


@pytest.mark.parametrize("name", ["test", "{test}", "a}b", "a{b", "a{}b", "a{b}c{d}", "}{", "{}", "ü}"])
def test_keys_of_a_queue_are_in_one_slot(redis_url: str, name: str):
    keys = Redis(name, settings=ClusterSettings.from_mapping({"redis": redis_url}))._keys()
    assert len(set(keys)) == 8
    assert {key_slot(key.encode()) for key in keys} == {key_slot(f"django_q:{name}:q".encode())}
    assert all(fnmatchcase(key, "django_q:*") or fnmatchcase(key, "{django_q:*") for key in keys)


def test_dead_letters_are_where_the_readme_says(broker: Redis):
    assert broker.dead_key == "{django_q:test:q}:dead"


def test_package_with_expired_lease_is_no_dead_letter(redis_url: str):
    lease = 0.01
    broker = broker_for(redis_url, retry=lease)
    broker.enqueue("unreadable")
    [found] = broker.dequeue_many(1, 1)
    time.sleep(2 * lease)
    broker.move_to_dead_letters(found)
    assert broker.dead_size() == 0
    [again] = broker_for(redis_url).dequeue_many(1, 1)
    assert again[1:] == (b"unreadable", 2)


def test_queue_with_the_name_of_dead_letters_of_other_products(redis_url: str):
    settings = ClusterSettings.from_mapping({"redis": redis_url})
    mail, other = Redis("mail", settings=settings), Redis("mail-dead", settings=settings)
    other.enqueue("a task")
    assert (mail.dead_size(), mail.requeue_dead()) == (0, 0)
    mail.delete_queue()
    assert other.queue_size() == 1


def test_thousands_are_released_in_their_order(broker: Redis):
    sent = [f"{number}" for number in range(2500)]
    broker.enqueue_many(sent)
    held = [each for _ in range(3) for each in broker.dequeue_many(1000, 1)]
    ids = [each.ack_id for each in held]
    assert broker.release_many(ids) == []
    assert [each.package.decode() for _ in range(3) for each in broker.dequeue_many(1000, 1)] == sent
    assert broker.renew(ids) == ids


def test_scripts_that_the_server_forgot_are_sent_again(broker: Redis, client: redis.Redis):
    broker.dequeue_many(1, 0)
    client.script_flush()
    broker.enqueue("package")
    assert broker.dequeue_many(1, 1)


def test_idle_broker_sends_few_commands(broker: Redis, client: redis.Redis):
    broker.dequeue_many(1, 0.1)
    before = client.info("stats")["total_commands_processed"]
    started = time.monotonic()
    while time.monotonic() - started < 5:
        broker.dequeue_many(4, 1.0)
    asked = client.info("stats")["total_commands_processed"] - before - 1
    assert asked / (time.monotonic() - started) <= 3


def test_delay_that_another_process_chose_is_noticed(broker: Redis, redis_url: str):
    broker.dequeue_many(1, 0.1)
    broker_for(redis_url).enqueue("package", delay=0.5)
    started = time.monotonic()
    assert broker.dequeue_many(1, 10)
    assert time.monotonic() - started < 4


def test_blocking_is_shorter_than_the_time_out_of_the_socket(redis_server: RedisServer, redis_url: str):
    broker = Redis("test", settings=ClusterSettings.from_mapping({"redis": f"{redis_url}?socket_timeout=0.4"}))
    assert broker.dequeue_many(1, 1.5) == []


def test_push_to_a_server_that_stalls_is_stored_once(redis_server: RedisServer, redis_url: str, client: redis.Redis):
    options = {"host": redis_server.host, "port": redis_server.port, "socket_timeout": 0.3}
    broker = Redis("test", settings=ClusterSettings.from_mapping({"redis": options}))
    broker.ping()
    with stalled(redis_server), pytest.raises(BrokerUnavailable):
        broker.enqueue("package")
    assert client.llen(LIST) <= 1


def test_master_that_is_demoted_during_a_wait_is_unavailable(broker: Redis, redis_server: RedisServer):
    """Expect the error for which processes of a cluster wait."""
    broker.dequeue_many(1, 0.1)
    demoted = threading.Timer(0.5, redis_server.say, ["REPLICAOF 127.0.0.1 1"])
    demoted.start()
    try:
        with pytest.raises(BrokerUnavailable):
            broker.dequeue_many(1, 10)
    finally:
        demoted.join()
        redis_server.say("REPLICAOF NO ONE")
    assert broker.dequeue_many(1, 0.1) == []


def test_batch_is_one_round_trip(broker: Redis, client: redis.Redis):
    def go_through() -> None:
        broker.enqueue_many(["package"] * 10)
        ids = [delivery.ack_id for delivery in broker.dequeue_many(10, 0)]
        assert broker.renew(ids) == broker.release_many(ids) == []
        assert broker.acknowledge_many([delivery.ack_id for delivery in broker.dequeue_many(10, 0)]) == []

    go_through()  # the server knows the scripts
    broker.queue_size()  # the broker has its connections
    with client.monitor() as monitor:
        go_through()
        broker.queue_size()
        # "lua" marks commands of the scripts.
        heard = takewhile(lambda seen: not seen["command"].startswith("LLEN"), monitor.listen())
        asked = [seen["command"].split()[0] for seen in heard if seen["client_type"] != "lua"]
    assert asked == ["RPUSH", *["EVALSHA"] * 6]


def test_brokers_open_one_connection(redis_url: str, client: redis.Redis):
    broker_for(redis_url).enqueue("package")
    before = client.info("stats")["total_connections_received"]
    for _ in range(20):
        broker_for(redis_url).enqueue("package")
    assert client.info("stats")["total_connections_received"] == before


def test_package_is_leased_when_it_arrives_during_a_wait(broker: Redis, redis_url: str, client: redis.Redis):
    waiting(broker, client)
    client.config_resetstat()
    sender = threading.Thread(target=lambda: eventually(lambda: waits(client)) and client.rpush(LIST, "package"))
    sender.start()
    [(ack_id, package, _attempt)] = broker.dequeue_many(1, 5)
    sender.join()
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1  # no script is run after the wait
    assert (package, broker.lock_size(), broker_for(redis_url).renew([ack_id])) == (b"package", 1, [])


def waiting(broker: Redis, client: redis.Redis) -> None:
    """Make the next fetch of the broker begin a lease before it waits."""
    broker.enqueue("before")
    broker.acknowledge_many([each.ack_id for each in broker.dequeue_many(1, 1)])
    assert not broker.dequeue_many(1, 0)


def test_wait_that_ends_without_a_package_leaves_no_keys(broker: Redis, client: redis.Redis):
    waiting(broker, client)
    assert not broker.dequeue_many(1, 0.1)
    assert client.keys() == []


def test_lease_that_waits_for_a_package_is_not_counted(broker: Redis, client: redis.Redis):
    waiting(broker, client)
    fetch = threading.Thread(target=broker.dequeue_many, args=(1, 5))
    fetch.start()
    eventually(lambda: waits(client) and client.zcard(LEASES) == 1)
    assert broker.lock_size() == 0
    client.rpush(LIST, "package")
    fetch.join()
    assert broker.lock_size() == 1


def test_package_for_a_disconnected_client_is_redelivered(redis_url: str, client: redis.Redis):
    broker = broker_for(redis_url, retry=0.3)
    waiting(broker, client)
    broker.enqueue("package")
    assert broker._expect(broker._raw(), 0.2)  # the process ends before it uses the delivery
    assert broker.queue_size() == 0
    other = broker_for(redis_url, retry=0.3)
    found = []
    eventually(lambda: found.extend(other.dequeue_many(1, 0.1)) or found)
    assert [each[1:] for each in found] == [(b"package", 2)]


def delete_queue(broker: Redis, _client: redis.Redis) -> None:
    broker.delete_queue()


def flush(_broker: Redis, client: redis.Redis) -> None:
    client.flushdb()


def step_the_clock(broker: Redis, client: redis.Redis) -> None:
    """Expire all leases, and let another cluster sweep them."""
    client.zadd(LEASES, dict.fromkeys(client.zrange(LEASES, 0, -1), 1))
    broker.dequeue_many(1, 0)


@pytest.mark.parametrize("lose_leases", [delete_queue, flush, step_the_clock])
def test_package_that_arrives_after_a_deleted_lease_is_leased(
    redis_url: str, client: redis.Redis, lose_leases: Callable[[Redis, redis.Redis], None]
):
    """Kill the holder before it reads the package, which another cluster leases."""
    broker = broker_for(redis_url, retry=0.3)
    child = os.fork()
    if not child:
        try:
            mine = broker_for(redis_url, retry=0.3)
            mine._expect(mine._raw(), 2)
        finally:
            os._exit(0)
    try:
        eventually(lambda: waits(client) and client.zcard(LEASES) == 1)
        os.kill(child, signal.SIGSTOP)
        lose_leases(broker, client)
        client.rpush(LIST, "package")
        eventually(lambda: not client.exists(LIST))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert broker.lock_size() == 1
    found: list[Delivery] = []
    eventually(lambda: found.extend(broker.dequeue_many(1, 0.1)) or found)
    assert found[0][1:] == (b"package", 2)
    assert broker.acknowledge(found[0].ack_id)
    assert client.keys() == []


def test_package_lost_by_a_waiting_fetch_is_not_delivered_twice(
    broker: Redis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
):
    raw = broker._raw()
    replies = raw.replies

    def deleted_meanwhile(*commands: tuple[object, ...]) -> list[object]:
        first = replies(*commands[:2])
        client.flushdb()
        return [*first, *replies(*commands[2:])]

    monkeypatch.setattr(raw, "replies", deleted_meanwhile)
    broker.enqueue("package")
    assert broker._expect(raw, 1) == []
    assert client.keys() == []


def test_redelivery_to_a_waiting_fetch_has_its_attempt_number(redis_url: str, client: redis.Redis):
    broker, other = broker_for(redis_url), broker_for(redis_url)
    waiting(broker, client)
    other.enqueue("package")
    [lost] = other.dequeue_many(1, 1)
    sender = threading.Thread(target=lambda: eventually(lambda: waits(client)) and other.expire(lost.ack_id))
    sender.start()
    [found] = broker.dequeue_many(1, 5)
    sender.join()
    assert found[1:] == (b"package", 2)


def test_package_without_attempts_is_leased_by_a_waiting_fetch(redis_url: str, client: redis.Redis):
    broker, other = broker_for(redis_url), broker_for(redis_url)
    waiting(broker, client)
    other.enqueue("failed")
    other.release(other.dequeue_many(1, 1)[0].ack_id, delay=60)
    broker.enqueue("package")
    [found] = broker._expect(broker._raw(), 1)
    assert (found.package, found.attempt) == (b"package", 1)
    assert str(found.ack_id).endswith(":0000")
    assert client.hlen(ATTEMPTS) == 1


def test_package_does_not_move_if_its_lease_is_rejected(redis_url: str, client: redis.Redis):
    client.acl_setuser("careful", enabled=True, nopass=True, keys="*", commands=["+@all", "-eval"])
    broker = broker_for(redis_url.replace("//", "//careful:any@"))
    try:
        client.rpush(LIST, "package")
        with pytest.raises(BrokerError, match="eval"):
            broker._expect(broker._raw(), 1)
        assert client.lrange(LIST, 0, -1) == [b"package"]
        assert client.keys() == [LIST.encode()]
    finally:
        client.acl_deluser("careful")


def test_queue_is_deleted_with_packages_that_were_waited_for(broker: Redis, client: redis.Redis):
    broker.enqueue_many(["one", "two"])
    [found] = broker._expect(broker._raw(), 1)
    broker.release(found.ack_id, delay=60)
    assert broker._expect(broker._raw(), 1)
    broker.delete_queue()
    assert client.keys() == []


def large(number: int) -> str:
    return str(number) * (LARGE_PACKAGE_BYTES + 1)


def test_large_packages_are_moved_and_not_copied(broker: Redis, client: redis.Redis):
    broker.enqueue_many([large(number) for number in range(4)])
    [first] = broker.dequeue_many(1, 1)  # no consumer knows the size of the packages yet
    second, third = broker.dequeue_many(2, 1)
    assert [each.package for each in (first, second, third)] == [large(number).encode() for number in range(3)]
    assert (client.hlen(PACKAGES), broker.lock_size()) == (1, 3)
    assert broker.release_many([third.ack_id, second.ack_id]) == []
    assert [each.package for each in broker.dequeue_many(9, 1)] == [large(number).encode() for number in (2, 1, 3)]


def test_large_packages_with_attempt_numbers_are_moved(redis_url: str, broker: Redis, client: redis.Redis):
    other = broker_for(redis_url)
    broker.enqueue_many([large(number) for number in range(3)])
    kept, lost = [broker.dequeue_many(1, 1)[0] for _ in range(2)]
    assert broker.expire(lost.ack_id)
    again = broker.dequeue_many(1, 1) + other.dequeue_many(9, 1)
    assert [each.attempt for each in again] == [2, 1]
    assert (client.hlen(PACKAGES), client.hlen(ATTEMPTS)) == (2, 1)
    assert broker.acknowledge_many([kept.ack_id, again[0].ack_id]) == []
    assert client.exists(ATTEMPTS) == 0


def waits(client: redis.Redis) -> bool:
    """Return True if a client waits for a package."""
    return int(client.info("clients")["blocked_clients"]) > 0


def test_dead_letter_that_is_no_utf8_is_deleted(broker: Redis, client: redis.Redis):
    client.rpush("{django_q:test:q}:dead", b"caf\xe9", b"caf\\xe9")
    [first, second] = broker.list_packages(PackageState.DEAD, 9)
    assert first.package == second.package == "caf\\xe9"
    assert broker.delete_dead(first.package)
    assert broker.delete_dead(first.package)
    assert not broker.delete_dead(first.package)
    assert broker.dead_size() == 0


def test_lease_that_waits_for_its_package_is_not_listed(broker: Redis, client: redis.Redis):
    client.zadd(LEASES, {"0123:0000": time.time() * 1000 + 60_000})
    broker.enqueue("package")
    broker.dequeue_many(1, 0)
    assert [each.package for each in broker.list_packages(PackageState.LEASED, 9)] == ["package"]
