"""Redis commands that a user needs, with their names in an access control list."""

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
    "llen",
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

DIRECT_COMMANDS: Final = (
    "blmove",
    "dbsize",
    "eval",
    "evalsha",
    "exists",
    "get",
    "info",
    "llen",
    "lrange",
    "lrem",
    "ping",
    "rpush",
    "scan",
    "set",
    "zadd",
    "zrange",
    "zrem",
    "zremrangebyscore",
)
"""Commands that the broker sends."""

COMMANDS: Final = tuple(sorted({*FOR_SCRIPTS, *DIRECT_COMMANDS}))
"""All commands that a cluster and its tools need."""

FETCHING_COMMANDS: Final = tuple(sorted({*FOR_SCRIPTS, "blmove", "eval", "evalsha", "exists", "zrange", "zrem"}))
"""Commands for fetching and settling packages. A cluster checks these permissions before its first fetch."""
