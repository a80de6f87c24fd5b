"""Converts errors of the Redis client to broker errors. Only this module decides between unavailable and rejected."""

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

UNREACHABLE_ERRORS: Final = (redis.ConnectionError, redis.TimeoutError, ClusterError, RedisClusterException)
"""Errors of the client if no server answers, or none accepts its connection."""

CODES_BY_CLASS: Final[Mapping[type[RedisError], str]] = MappingProxyType(
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
"""Codes by the classes of the client that remove them from the reply. A subclass precedes its base."""

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
"""Remedies by code, for servers that work for no user or not for this one. The same request succeeds later."""

REMEDIES_BY_PATTERN: Final[Mapping[str, str]] = MappingProxyType(
    {
        r"max(imum)? number of clients": "close connections, or raise 'maxclients' of the server",
        r"Too many connections|No connection available": "raise 'max_connections' in Q_CLUSTER['redis']",
        r"unknown command": "use a server of Redis 6.2 or newer, with all commands under their own names",
    }
)
"""Remedies by pattern, for replies of an unavailable server without a code."""

DENIED_IN_A_SCRIPT: Final = re.compile(r"ACL failure in script|user executing the script can't")
"""Replies of newer and older servers to a script with a command that its user may not run."""

TOO_LARGE: Final = re.compile(r"invalid bulk length|string exceeds maximum allowed size")
"""Replies to a package beyond `proto-max-bulk-len`."""

SCRIPT_SUFFIX: Final = re.compile(r"\.? script: \w+, on @\S+$")
"""Suffix of the replies to a script."""

CODE: Final = re.compile(rf"(?:.*: -)?({'|'.join(UNAVAILABLE)})\b")
"""Code at the start of a reply. Redis 6.2 writes a text before the code of a command in a script."""


class converting_errors:  # noqa: N801 - named as a function, as `contextlib.suppress`
    """Context manager that converts errors of the client to broker errors."""

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        """Convert the error."""
        if isinstance(error, (RedisError, RedisClusterException)):
            raise broker_error(error) from error


def broker_error(error: Exception) -> BrokerError:
    """Return the broker error for an error of the client.

    Returns:
        `BrokerUnavailable` if the same request may succeed later; `PackageTooLarge` or another `BrokerError` if the
        server rejects the request.
    """
    text = str(error)
    if code := code_of(error):
        return unavailable(code, text)
    for pattern, remedy in REMEDIES_BY_PATTERN.items():
        if re.search(pattern, text):
            return BrokerUnavailable(f"Redis is unavailable ({text}): {remedy}")
    if isinstance(error, UNREACHABLE_ERRORS):
        return BrokerUnavailable(f"Redis cannot be reached: {error}")
    if TOO_LARGE.search(text):
        return PackageTooLarge(f"Redis takes no package of this size ({text}): send a reference instead of the data")
    return BrokerError(f"Redis rejects a request: {error}")


def missing_permissions(commands: Sequence[str]) -> BrokerUnavailable:
    """Return the error for a user that may not run *commands*."""
    return unavailable("NOPERM", f"the user has no permissions to run {', '.join(commands)}")


def unavailable(code: str, text: str) -> BrokerUnavailable:
    """Return the error for a code of `UNAVAILABLE`."""
    text = SCRIPT_SUFFIX.sub("", text).removeprefix(code).strip().removesuffix(".")
    return BrokerUnavailable(f"Redis is unavailable ({code}: {text}): {UNAVAILABLE[code]}")


def code_of(error: Exception) -> str | None:
    """Return the code of `UNAVAILABLE` in the reply of a server; None if it has none."""
    for kind, code in CODES_BY_CLASS.items():
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
