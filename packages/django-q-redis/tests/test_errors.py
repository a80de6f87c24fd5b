"""Meaning of the replies of servers, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q_redis.errors import UNAVAILABLE, broker_error, converting_errors
from redis._parsers.base import BaseParser
from redis.exceptions import RedisClusterException

TEMPORARY = {
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "OOM in a script": "OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:9.",
    "OOM in a script of Redis 6.2": "ERR Error running script (call to f_1f): @user_script:9: @user_script: 9: "
    "-OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF": "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "MISCONF of the append-only file": "MISCONF Errors writing to the AOF file: No space left on device",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "READONLY": "READONLY You can't write against a read only replica.",
    "READONLY in a script": "READONLY You can't write against a read only replica. script: 1f, on @user_script:9.",
    "UNBLOCKED": "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "BUSY": "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN": "CLUSTERDOWN Hash slot not served",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "MOVED": "MOVED 3999 127.0.0.1:6381",
    "ASK": "ASK 3999 127.0.0.1:6381",
    "NOAUTH": "NOAUTH Authentication required.",
    "WRONGPASS": "WRONGPASS invalid username-password pair or user is disabled.",
    "NOAUTH without a password": "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?",
    "NOPERM": "NOPERM User site has no permissions to run the 'evalsha' command",
    "NOPERM in a script": "ERR ACL failure in script: User site has no permissions to run the 'zadd' command script: "
    "1f, on @user_script:9.",
    "NOPERM in a script of Redis 6.2": "ERR Error running script (call to f_1f): @user_script:9: @user_script: 9: "
    "The user executing the script can't run this command or subcommand",
    "too many clients": "ERR max number of clients reached",
    "too many clients of a cluster": "ERR max number of clients + cluster connections reached",
    "no such command": "ERR unknown command 'LMOVE', with args beginning with: 'a' 'b'",
}


@pytest.mark.parametrize("reply", TEMPORARY.values(), ids=TEMPORARY)
def test_codes_of_an_unavailable_server(reply: str):
    error = broker_error(BaseParser.parse_error(reply))
    assert isinstance(error, BrokerUnavailable)
    assert "\n" not in str(error)


@pytest.mark.parametrize("code", UNAVAILABLE)
def test_message_has_the_reason_and_the_remedy(code: str):
    text = str(broker_error(BaseParser.parse_error(f"{code} 1 server:1")))
    assert "server:1" in text
    assert text.endswith(UNAVAILABLE[code if code != "WRONGPASS" else "NOAUTH"])


def test_message_is_the_same_for_a_command_in_a_script():
    alone, in_a_script = (broker_error(BaseParser.parse_error(TEMPORARY[case])) for case in ("OOM", "OOM in a script"))
    assert str(alone) == str(in_a_script)


@pytest.mark.parametrize(
    "reply",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR syntax error",
        "ERR wrong number of arguments for 'rpush' command",
        "ERR value is not BUSY, nor an integer or out of range",
        "NOSCRIPT No matching script. Please use EVAL.",
    ],
)
def test_invalid_request_is_rejected(reply: str):
    error = broker_error(BaseParser.parse_error(reply))
    assert not isinstance(error, BrokerUnavailable)


def test_package_beyond_the_limit_of_the_server_is_too_large():
    error = broker_error(BaseParser.parse_error("ERR Protocol error: invalid bulk length"))
    assert isinstance(error, PackageTooLarge)


@pytest.mark.parametrize(
    "raised",
    [
        redis.ConnectionError("Connection refused"),
        redis.TimeoutError("Timeout reading from socket"),
        redis.exceptions.MaxConnectionsError("Too many connections"),
        redis.exceptions.ClusterError("TTL exhausted."),
        RedisClusterException("Redis Cluster cannot be connected."),
        redis.sentinel.MasterNotFoundError("No master found for 'mymaster'"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_server_that_is_not_reached_is_unavailable(raised: Exception):
    with pytest.raises(BrokerUnavailable) as caught, converting_errors():
        raise raised
    assert caught.value.__cause__ is raised


def test_other_errors_are_not_converted():
    with pytest.raises(KeyError), converting_errors():
        raise KeyError


def test_readme_lists_every_code():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert [code for code in UNAVAILABLE if f"`{code}`" not in readme] == []


def test_unavailable_is_an_error_of_brokers():
    assert issubclass(BrokerUnavailable, BrokerError)
