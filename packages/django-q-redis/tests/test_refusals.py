"""Servers that reject requests keep all packages and are unavailable meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import eventually
from django_q_redis import Redis
from django_q_redis.broker import LARGE_PACKAGE_BYTES

from tests.services.redis_cluster import Node
from tests.services.redis_states import REFUSALS, admin, busy, out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services import OldRedis
    from tests.services import Redis as RedisServer
    from tests.services.redis import OpenRedis


def broker_for(url: str, **others: object) -> Redis:
    return Redis("test", settings=ClusterSettings.from_mapping({"redis": url, "poll": 0.05, **others}))


@pytest.fixture
def broker(open_redis_server: OpenRedis) -> Redis:
    return broker_for(open_redis_server.url)


def refused(call: Callable[..., object], *arguments: object, **options: object) -> str:
    with pytest.raises(BrokerUnavailable) as caught:
        call(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("reply", REFUSALS)
def test_refusal_is_temporary_and_nothing_is_lost(broker: Redis, open_redis_server: OpenRedis, reply: str):
    broker.enqueue_many(["held", "failed", "waiting", "large" * LARGE_PACKAGE_BYTES])
    held, failed = broker.dequeue_many(2, 1)
    codes = {reply, "READONLY"} if reply == "MASTERDOWN" else {reply}

    def is_named_in(message: str) -> bool:
        return any(code in message for code in codes)

    with REFUSALS[reply](open_redis_server):
        assert is_named_in(refused(broker.enqueue, "refused"))
        assert is_named_in(refused(broker.enqueue, "refused", delay=1))
        assert is_named_in(refused(broker.dequeue_many, 9, 0))
        assert is_named_in(refused(broker.dequeue_many, 9, 1))
        assert is_named_in(refused(broker.renew, [held.ack_id]))
        assert is_named_in(refused(broker.acknowledge, held.ack_id))
        assert is_named_in(refused(broker.release, failed.ack_id, delay=0.01))
        assert is_named_in(refused(broker.fail, failed.ack_id))
        if reply == "MASTERDOWN":
            assert reply in refused(broker.queue_size)
        if reply in ("READONLY", "NOREPLICAS", "MISCONF"):
            assert broker.queue_size() == 2
            assert broker.lock_size() == 2
    eventually(broker.ping, within=10)
    assert broker.renew([held.ack_id, failed.ack_id]) == []
    assert broker.acknowledge(held.ack_id)
    assert broker.release(failed.ack_id, delay=0.01)
    found = []
    eventually(lambda: found.extend(broker.dequeue_many(9, 0.1)) or len(found) == 3)
    assert {each.package for each in found} == {b"failed", b"waiting", b"large" * LARGE_PACKAGE_BYTES}
    broker.acknowledge_many([each.ack_id for each in found])
    with admin(open_redis_server) as client:
        assert client.keys() == []


def test_wrong_password_is_unavailable_until_it_is_corrected(open_redis_server: OpenRedis):
    with admin(open_redis_server) as client:
        client.acl_setuser("site", enabled=True, passwords=["+old"], keys="*", commands=["+@all"])
        broker = broker_for(open_redis_server.url.replace("//", "//site:old@"))
        broker.enqueue("package")
        client.acl_setuser("site", passwords=["-old", "+new"], enabled=True, keys="*", commands=["+@all"])
        client.client_kill_filter(_type="normal", skipme=True)
        assert "invalid username-password pair" in refused(broker.dequeue_many, 1, 1)
        client.acl_setuser("site", passwords=["+old"], enabled=True, keys="*", commands=["+@all"])
        assert broker.dequeue_many(1, 1)


def test_node_of_a_cluster_without_slots_is_unavailable(redis_server: RedisServer):
    with Node() as node:
        broker = broker_for(node.url)
        assert "CLUSTERDOWN" in refused(broker.enqueue, "package")
        assert "CLUSTERDOWN" in refused(broker.dequeue_many, 1, 1)


class TestServerWithoutMemory:
    """A server without memory runs commands that free memory, and rejects those that need more."""

    @pytest.fixture(params=["small", "large"])
    def packages(self, request: pytest.FixtureRequest) -> list[str]:
        return [f"{number}" * (LARGE_PACKAGE_BYTES if request.param == "large" else 1) for number in range(6)]

    @pytest.fixture(params=["now", "Redis 6.2"])
    def server(self, request: pytest.FixtureRequest) -> OpenRedis | OldRedis:
        if request.param == "now":
            return request.getfixturevalue("open_redis_server")
        old = request.getfixturevalue("old_redis_server")
        old.start()
        old.flush()
        return old

    def test_queue_is_drained_with_leases(self, server: OpenRedis, packages: list[str]):
        broker, other = broker_for(server.url, retry=30), broker_for(server.url, retry=0.2)
        broker.enqueue_many(packages)
        with out_of_memory(server):
            assert "OOM" in refused(broker.enqueue, "more")
            assert "OOM" in refused(broker.enqueue, "more", delay=1)
            first = broker.dequeue_many(1, 0)  # no consumer knows the size of the packages yet
            done, released, late, dead, *_ = first + broker.dequeue_many(9, 0)
            assert broker.lock_size() == len(packages)
            assert broker.renew([done.ack_id]) == []
            assert broker.acknowledge(done.ack_id)
            assert broker.release(released.ack_id)
            assert broker.release(late.ack_id, delay=0.01)
            assert broker.fail(dead.ack_id)
            again = []
            eventually(lambda: again.extend(other.dequeue_many(9, 0.1)) or len(again) >= 2)
            assert {each.package for each in again} == {released.package, late.package}
            assert broker.requeue_dead() == 1
            eventually(lambda: again.extend(other.dequeue_many(9, 0.1)) or len(again) >= 5)  # two leases expire
            assert broker.expire(again[-1].ack_id) in (True, False)
            broker.purge_queue()
            broker.delete_queue()
            assert broker.queue_size() == broker.lock_size() == 0

    def test_fetch_from_an_empty_queue_returns_released_packages(self, server: OpenRedis):
        broker, other = broker_for(server.url), broker_for(server.url)
        other.enqueue("package")
        [held] = other.dequeue_many(1, 1)
        broker.enqueue("flowing")
        assert broker.dequeue_many(1, 1)
        with out_of_memory(server):
            assert broker.dequeue_many(1, 0) == []
            assert broker.dequeue_many(1, 0.2) == []  # begins a lease before it waits
            assert broker.dequeue_many(1, 0.2) == []
            assert broker.lock_size() == 2
            other.release(held.ack_id)
            [found] = broker.dequeue_many(1, 5)
            assert found.package == b"package"

    def test_next_link_of_a_chain_takes_the_place_of_the_one_before(self, server: OpenRedis):
        broker = broker_for(server.url)
        broker.enqueue("first")
        with out_of_memory(server):
            [first] = broker.dequeue_many(1, 1)
            broker.enqueue_links(["second", "third"])
            assert broker.acknowledge(first.ack_id)
            assert [each.package for each in broker.dequeue_many(9, 1)] == [b"second", b"third"]

    def test_packages_that_a_fetch_waited_for_are_settled(self, server: OpenRedis):
        broker = broker_for(server.url)
        broker.enqueue_many(["one", "two"])
        assert broker.lock_size() == 0  # and the broker knows the server
        found = broker._expect(broker._raw(), 1) + broker._expect(broker._raw(), 1)
        with out_of_memory(server):
            assert broker.acknowledge(found[0].ack_id)
            assert broker.release(found[1].ack_id)
            assert [each.package for each in broker.dequeue_many(9, 1)] == [b"two"]


def test_package_is_not_moved_if_its_lease_is_not_understood(old_redis_server: OldRedis):
    old_redis_server.start()
    old_redis_server.flush()
    broker = broker_for(old_redis_server.url)
    broker.enqueue("package")
    assert not broker._rejects_flags  # the broker has waited, and another server replaced the known one
    assert broker._expect(broker._raw(), 1) == []
    assert [each.package for each in broker.dequeue_many(1, 1)] == [b"package"]


def test_ping_of_a_busy_server_is_false(broker: Redis, open_redis_server: OpenRedis):
    with busy(open_redis_server):
        assert broker.ping() is False
