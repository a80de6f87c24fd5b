"""The errors of the Redis client → the errors of brokers: unavailable or rejected is decided here, and only here."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import redis
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AWAY: Final = (redis.ConnectionError, redis.TimeoutError, ClusterError, RedisClusterException)
"""Raised by the client if no server answers, or none accepts its connection."""

STRIPPED: Final[Mapping[type[RedisError], str]] = MappingProxyType(
    {
        MovedError: "MOVED",
        AskError: "ASK",
        AuthenticationError: "NOAUTH",
        BusyLoadingError: "LOADING",
        MasterDownError: "MASTERDOWN",
        ClusterDownError: "CLUSTERDOWN",
        NoPermissionError: "NOPERM",
        OutOfMemoryError: "OOM",
        ReadOnlyError: "READONLY",
        TryAgainError: "TRYAGAIN",
    }
)
"""Classes of the client that take the code from the front of the server's reply; a subclass comes before its base."""

UNAVAILABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "OOM": "free memory on the server, or raise its 'maxmemory'",
        "MISCONF": "let the server write to its disk: its log has the reason",
        "NOREPLICAS": "connect as many replicas as 'min-replicas-to-write' requires",
        "READONLY": "connect to the master: this server is a replica",
        "UNBLOCKED": "wait for the end of the fail-over",
        "BUSY": "wait for the script that the server runs, or end it with SCRIPT KILL",
        "LOADING": "wait until the server has loaded its data",
        "MASTERDOWN": "wait until the replica has found its master",
        "CLUSTERDOWN": "wait until the cluster covers all slots again",
        "TRYAGAIN": "wait until the slot has been moved",
        "MOVED": "name the nodes of a Redis Cluster as 'startup_nodes'",
        "ASK": "name the nodes of a Redis Cluster as 'startup_nodes'",
        "NOAUTH": "check 'username' and 'password' in Q_CLUSTER",
        "WRONGPASS": "check 'username' and 'password' in Q_CLUSTER",
        "NOPERM": "grant the commands and keys that the README of django-q-redis lists",
    }
)
"""Code of a server that does not work for anybody, or not for this user → the remedy.

The request is not to blame: the same one succeeds later.
"""

SENTENCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        r"max(imum)? number of clients": "close connections, or raise 'maxclients' of the server",
        r"Too many connections|No connection available": "raise 'max_connections' in Q_CLUSTER['redis']",
        r"unknown command": "use a server of Redis 6.2 or newer, with all commands under their own names",
    }
)
"""Patterns of replies that have no code, and mean the same → the remedy."""

DENIED_IN_A_SCRIPT: Final = re.compile(r"ACL failure in script|user executing the script can't")
"""Replies to a script that runs a command its user may not run: newer and older servers."""

TOO_LARGE: Final = re.compile(r"invalid bulk length|string exceeds maximum allowed size")
"""Replies to a package beyond `proto-max-bulk-len`."""

WHERE: Final = re.compile(r"\.? script: \w+, on @\S+$")
"""End of the replies to a script."""

CODE: Final = re.compile(rf"(?:.*: -)?({'|'.join(UNAVAILABLE)})\b")
"""A code at the front; Redis 6.2 writes its own words before the code of a command in a script."""


class reaching:  # noqa: N801 - it is said as a verb
    """Raise the errors of the client within a block as errors of brokers."""

    def __enter__(self) -> None:
        """Watch."""

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        """Translate."""
        if isinstance(error, (RedisError, RedisClusterException)):
            raise broker_error(error) from error


def broker_error(error: Exception) -> BrokerError:
    """Return the error of brokers for one of the client.

    Returns:
        `BrokerUnavailable` if the same request may succeed later; `PackageTooLarge` or another `BrokerError` if the
        server rejects the request itself.
    """
    text = str(error)
    if code := code_of(error):
        return unavailable(code, text)
    for pattern, remedy in SENTENCES.items():
        if re.search(pattern, text):
            return BrokerUnavailable(f"Redis is unavailable ({text}): {remedy}")
    if isinstance(error, AWAY):
        return BrokerUnavailable(f"Redis cannot be reached: {error}")
    if TOO_LARGE.search(text):
        return PackageTooLarge(f"Redis takes no package of this size ({text}): send a reference instead of the data")
    return BrokerError(f"Redis rejects a request: {error}")


def lacking(commands: Sequence[str]) -> BrokerUnavailable:
    """Return the error for a user that may not run some commands."""
    return unavailable("NOPERM", f"the user has no permissions to run {', '.join(commands)}")


def unavailable(code: str, text: str) -> BrokerUnavailable:
    """Return the error for one of the codes of `UNAVAILABLE`."""
    text = WHERE.sub("", text).removeprefix(code).strip().removesuffix(".")
    return BrokerUnavailable(f"Redis is unavailable ({code}: {text}): {UNAVAILABLE[code]}")


def code_of(error: Exception) -> str | None:
    """Return the code of `UNAVAILABLE` that a server answered with, None if it was none of them."""
    for kind, code in STRIPPED.items():
        if isinstance(error, kind):
            return code
    text = str(error)
    if DENIED_IN_A_SCRIPT.search(text):
        return "NOPERM"
    found = CODE.match(text)
    return found[1] if found else None


def is_out_of_memory(error: Exception) -> bool:
    """Return True if the server has no memory for the command."""
    return code_of(error) == "OOM"
