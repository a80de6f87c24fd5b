"""Statistics of clusters, in Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from django_q_redis.raw_connection import in_one_flight

if TYPE_CHECKING:
    from django_q_redis.client import Client

LISTED = 30
"""Seconds for which a cluster that lists its key is trusted to be listed."""

FORGOTTEN = 3600
"""Seconds after which a key that nobody listed again is dropped from the list."""

FEW = 10_000
"""A database with at most so many keys is also searched for clusters of other versions, which keep no list."""


class RedisStats:
    """One key a cluster, as every version of Django Q has them, and a sorted set of these keys: no `KEYS`.

    Args:
        client: the client.
        prefix: what the keys begin with.
        listed: when each key was last put on the list, by whoever has this dictionary.
    """

    def __init__(self, client: Client, prefix: str, listed: dict[str, float]) -> None:
        self.client = client
        self.listed = listed
        self.prefix = prefix
        # Not `<prefix>:…`, which would pass for a cluster's key.
        self.index = f"{prefix}s"

    def set(self, key: str, value: str, timeout: float) -> None:
        """Keep *value* for *timeout* seconds, and list its key now and then."""
        now = time.time()
        commands: list[tuple[str | float, ...]] = [("SET", key, value, "PX", max(round(timeout * 1000), 1))]
        list_it = self.listed.get(key, 0) + LISTED < now
        if list_it:
            commands += ("ZADD", self.index, now, key), ("ZREMRANGEBYSCORE", self.index, "-inf", now - FORGOTTEN)
        in_one_flight(self.client, *commands)
        if list_it:
            self.listed[key] = now

    def get(self, key: str) -> bytes | None:
        """What is kept under *key*."""
        return cast("bytes | None", self.client.get(key))

    def all(self, pattern: str) -> list[str | bytes]:
        """Everything kept under keys that match *pattern*."""
        with self.client.pipeline(transaction=False) as pipeline:
            for key in self._keys(pattern):
                pipeline.get(key)
            return [value for value in pipeline.execute() if value is not None]

    def _keys(self, pattern: str) -> list[str]:
        prefix = pattern.removesuffix("*")
        keys = set(cast("list[bytes | str]", self.client.zrange(self.index, 0, -1)))
        if cast("int", self.client.dbsize()) <= FEW:
            keys.update(self.client.scan_iter(match=pattern, count=1000))
        names = {key.decode() if isinstance(key, bytes) else key for key in keys}
        return sorted(name for name in names if name.startswith(prefix))
