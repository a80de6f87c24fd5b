"""Stores statistics of clusters in Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from django_q_redis.raw_connection import in_one_round_trip

if TYPE_CHECKING:
    from django_q_redis.client import Client

RELIST_INTERVAL_SECONDS = 30
"""Interval at which a cluster adds its key to the list again."""

UNLIST_SECONDS = 3600
"""Time after which a key that was not added again is removed from the list."""

MAX_SCANNED_KEYS = 10_000
"""Maximum number of keys of a database that is searched for clusters of other versions, which have no list."""


class RedisStats:
    """One key per cluster, as in all versions of Django Q, and a sorted set of these keys instead of `KEYS`.

    Args:
        client: client of the server.
        prefix: prefix of the keys.
        listed: times at which the caller has added each key to the list.
    """

    def __init__(self, client: Client, prefix: str, listed: dict[str, float]) -> None:
        self.client = client
        self.listed = listed
        self.prefix = prefix
        # Not `<prefix>:…`, which would match the keys of clusters.
        self.index = f"{prefix}s"

    def set(self, key: str, value: str, timeout: float) -> None:
        """Store *value* for *timeout* seconds, and add its key to the list at intervals."""
        now = time.time()
        commands: list[tuple[str | float, ...]] = [("SET", key, value, "PX", max(round(timeout * 1000), 1))]
        list_it = self.listed.get(key, 0) + RELIST_INTERVAL_SECONDS < now
        if list_it:
            commands += ("ZADD", self.index, now, key), ("ZREMRANGEBYSCORE", self.index, "-inf", now - UNLIST_SECONDS)
        in_one_round_trip(self.client, *commands)
        if list_it:
            self.listed[key] = now

    def get(self, key: str) -> bytes | None:
        """Return the value under *key*; None if there is none."""
        return cast("bytes | None", self.client.get(key))

    def all(self, pattern: str) -> list[str | bytes]:
        """Return the values under all keys that match *pattern*, a prefix and `*`."""
        with self.client.pipeline(transaction=False) as pipeline:
            for key in self._keys(pattern):
                pipeline.get(key)
            return [value for value in pipeline.execute() if value is not None]

    def _keys(self, pattern: str) -> list[str]:
        prefix = pattern.removesuffix("*")
        keys = set(cast("list[bytes | str]", self.client.zrange(self.index, 0, -1)))
        if cast("int", self.client.dbsize()) <= MAX_SCANNED_KEYS:
            keys.update(self.client.scan_iter(match=pattern, count=1000))
        names = {key.decode() if isinstance(key, bytes) else key for key in keys}
        return sorted(name for name in names if name.startswith(prefix))
