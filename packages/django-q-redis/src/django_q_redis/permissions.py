"""The commands of Redis that a user needs, as an access control list names them."""

from __future__ import annotations

from typing import Final

FOR_SCRIPTS: Final = (
    "del",
    "exists",
    "hdel",
    "hget",
    "hincrby",
    "hmget",
    "hset",
    "lindex",
    "lmove",
    "lpop",
    "lpush",
    "pexpire",
    "pttl",
    "rpush",
    "time",
    "zadd",
    "zmscore",
    "zrange",
    "zrem",
)
"""Commands that the scripts run."""

DIRECT: Final = (
    "blmove",
    "dbsize",
    "eval",
    "evalsha",
    "exists",
    "get",
    "info",
    "llen",
    "ping",
    "rpush",
    "scan",
    "set",
    "zadd",
    "zrange",
    "zrem",
    "zremrangebyscore",
)
"""Commands that the broker sends itself."""

COMMANDS: Final = tuple(sorted({*FOR_SCRIPTS, *DIRECT}))
"""All commands that a cluster and its tools need."""

FETCHING: Final = tuple(sorted({*FOR_SCRIPTS, "blmove", "eval", "evalsha", "exists", "zrange", "zrem"}))
"""Commands without which packages cannot be fetched and settled: a cluster asks for them before it begins."""
