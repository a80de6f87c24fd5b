"""Access control lists: the commands in the README are sufficient, and an error has the missing one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django_q.exceptions import BrokerUnavailable
from django_q.settings import ClusterSettings
from django_q.testing import BrokerConformance, eventually
from django_q_redis import Redis, scripts
from django_q_redis.keys import PATTERNS, keys_of
from django_q_redis.permissions import COMMANDS, FETCHING_COMMANDS

from tests.services.redis_states import admin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from tests.services import Redis as RedisServer

README = (Path(__file__).parents[1] / "README.md").read_text()
[RULE] = re.findall(r"^ACL SETUSER mysite (.*)$", README, re.MULTILINE)


@pytest.fixture
def root(redis_server: RedisServer) -> Iterator[redis.Redis]:
    redis_server.start()
    redis_server.flush()
    with admin(redis_server) as client:
        client.execute_command("ACL", "SETUSER", "mysite", "reset", *RULE.split())
        yield client
        client.acl_deluser("mysite")


def settings_for(server: RedisServer) -> ClusterSettings:
    return ClusterSettings.from_mapping({"redis": server.url.replace("//", "//mysite:secret@"), "retry": 60})


@pytest.fixture
def broker(root: redis.Redis, redis_server: RedisServer) -> Redis:
    return Redis("test", settings=settings_for(redis_server))


@pytest.mark.variant
class TestUserOfTheReadme(BrokerConformance):
    """Suite for a user with exactly these permissions."""

    @pytest.fixture
    def make_broker(self, root: redis.Redis, redis_server: RedisServer):
        # Keys of other statistics, which the suite writes with this broker.
        root.execute_command("ACL", "SETUSER", "mysite", "~not-django_q:*")
        return lambda list_key: Redis(list_key, settings=settings_for(redis_server))


def test_readme_lists_the_commands_and_keys_that_are_used():
    words = set(RULE.split())
    assert {word[1:] for word in words if word[0] == "+"} == set(COMMANDS)
    assert {word[1:] for word in words if word[0] == "~"} == set(PATTERNS)


def test_sender_of_priorities_needs_the_commands_of_the_readme(root: redis.Redis, broker: Redis):
    [words] = re.findall(r"only sends tasks\s+needs `\+rpush`;[^;]*; with priorities also `([^`]+)`", README)
    commands = ["-@all", "+ping", "+rpush", *words.split()]
    root.execute_command("ACL", "SETUSER", "mysite", *commands)
    broker.enqueue("first", priority=1)
    broker.enqueue("second", priority=2)
    assert root.llen(broker.list_key) == root.llen("{django_q:test:q}:levels:1") == 1
    for command in words.split():
        root.script_flush()
        root.execute_command("ACL", "SETUSER", "mysite", command.replace("+", "-"))
        assert refusal(broker.enqueue, "package", priority=3), f"{command} is not needed"
        root.execute_command("ACL", "SETUSER", "mysite", command)


def take(broker: Redis, number: int) -> list:
    found: list = []
    eventually(lambda: found.extend(broker.dequeue_many(number - len(found), 0.05)) or len(found) >= number)
    return found


@pytest.mark.parametrize("command", FETCHING_COMMANDS)
def test_package_stays_until_the_missing_command_is_granted(broker: Redis, root: redis.Redis, command: str):
    root.rpush(broker.list_key, "first", "second")
    root.execute_command("ACL", "SETUSER", "mysite", f"-{command}")
    for wait in (0, 0.05, 0.05):
        with pytest.raises(BrokerUnavailable, match=rf"\b{command}\b"):
            broker.dequeue_many(1, wait)
    assert root.lrange(broker.list_key, 0, -1) == [b"first", b"second"]
    assert len(root.keys()) == 1
    root.execute_command("ACL", "SETUSER", "mysite", f"+{command}")
    assert [each.package for each in broker.dequeue_many(2, 1)] == [b"first", b"second"]


def refusal(call: Callable[..., object], *arguments: object, **options: object) -> str:
    """Return the message of the error that a call raises; an empty text if it raises none."""
    try:
        call(*arguments, **options)
    except BrokerUnavailable as error:
        return str(error)
    return ""


@pytest.mark.parametrize("command", ["del", "hdel", "hincrby", "hset", "lpop", "lpush", "pexpire", "zadd", "zrem"])
def test_right_that_is_revoked_during_leases_loses_no_package(broker: Redis, root: redis.Redis, command: str):
    broker.enqueue_many(["released", "delayed", "expired", "dead", "waits"])
    held = {each.package.decode(): each.ack_id for each in take(broker, 4)}
    broker.enqueue("due", delay=0.01)
    root.execute_command("ACL", "SETUSER", "mysite", f"-{command}")
    errors = [
        error
        for error in (
            refusal(broker.release, held["released"]),
            refusal(broker.release, held["delayed"], delay=0.01),
            refusal(broker.expire, held["expired"]),
            refusal(broker.fail, held["dead"]),
            refusal(broker.dequeue_many, 9, 0),
        )
        if error
    ]
    assert errors
    assert all(command in error for error in errors)
    root.execute_command("ACL", "SETUSER", "mysite", f"+{command}")
    leases = keys_of(broker.list_key).leases
    for token in root.zrange(leases, 0, -1):
        root.zadd(leases, {token: 0})  # it expires
    broker.requeue_dead()
    found: set[str] = set()
    eventually(lambda: found.update(each.package.decode() for each in broker.dequeue_many(9, 0.1)) or len(found) == 6)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(FETCHING_COMMANDS)))
def test_other_missing_command_is_named(broker: Redis, root: redis.Redis, redis_server: RedisServer, command: str):
    root.execute_command("ACL", "SETUSER", "mysite", f"-{command}")
    calls = {
        "dbsize": lambda: broker.get_stats("*"),
        "get": lambda: broker.get_stat("django_q:a"),
        "info": broker.info,
        "llen": broker.queue_size,
        "lrange": lambda: broker.list_dead(1),
        "lrem": lambda: broker.delete_dead("package"),
        "ping": lambda: Redis("test", settings=settings_for(redis_server)).ping() or broker._raw()("PING"),
        "scan": lambda: broker.get_stats("*"),
        "set": lambda: broker.set_stat("django_q:a", "value", 5),
        "zremrangebyscore": lambda: broker.set_stat("django_q:a", "value", 5),
    }
    if command == "ping":
        assert broker.ping() is False
        return
    with pytest.raises(BrokerUnavailable, match=rf"\b{command}\b"):
        calls[command]()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_is_listed_that_is_not_used(command: str):
    files = [Path(scripts.__file__).with_name(f"{name}.py") for name in ("broker", "lua_functions", "scripts", "stats")]
    assert any(re.search(rf"['\".]{command}(_iter)?['\"(]", file.read_text(), re.IGNORECASE) for file in files)


def test_keys_that_the_user_may_not_use_are_unavailable(broker: Redis, root: redis.Redis):
    root.execute_command("ACL", "SETUSER", "mysite", "resetkeys", "~django_q:*")
    with pytest.raises(BrokerUnavailable, match="permissions"):
        broker.dequeue_many(1, 0.05)
    root.rpush(broker.list_key, "package")
    with pytest.raises(BrokerUnavailable, match="permissions"):
        broker.dequeue_many(1, 0.05)
    assert root.llen(broker.list_key) == 1
