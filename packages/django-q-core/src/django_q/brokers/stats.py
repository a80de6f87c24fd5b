"""Stores statistics of clusters in a Django cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.db import connections, router

from django_q.brokers.file_stats import FileStats
from django_q.caches.keys import safe_key
from django_q.databases.sqlite import folder_beside

if TYPE_CHECKING:
    from django.core.cache.backends.base import BaseCache


def stats_in(cache: BaseCache | None, index: str) -> CacheStats | FileStats:
    """Return the storage for statistics: the cache, or files if the table of the cache is in an SQLite database."""
    if (table := getattr(cache, "cache_model_class", None)) is not None:
        folder = folder_beside(connections[router.db_for_write(table)])
        if folder is not None:
            return FileStats(folder)
    return CacheStats(cache, index)


class CacheStats:
    """One cache entry per cluster, and one entry with the list of their keys, because caches cannot be searched."""

    def __init__(self, cache: BaseCache | None, index: str) -> None:
        self.cache = cache
        self.index = index

    def set(self, key: str, value: str, timeout: float) -> None:
        """Store *value* for *timeout* seconds. A concurrent write may drop a key; the next `set` lists it again."""
        if self.cache is None:
            return
        self.cache.set(self._safe(key), value, timeout)
        keys = self._keys()
        if key not in keys:
            alive = self.cache.get_many(map(self._safe, keys)) or {}
            self.cache.set(self._safe(self.index), [*(each for each in keys if self._safe(each) in alive), key], None)

    def get(self, key: str) -> str | bytes | None:
        """Return the value under *key*; None if there is none."""
        return None if self.cache is None else cast("str | bytes | None", self.cache.get(self._safe(key)))

    def all(self, pattern: str) -> list[str | bytes]:
        """Return the values under all keys that match *pattern*, a prefix and `*`."""
        if self.cache is None:
            return []
        prefix = pattern.removesuffix("*")
        found = self.cache.get_many([self._safe(key) for key in self._keys() if key.startswith(prefix)])
        return list((found or {}).values())

    def _keys(self) -> list[str]:
        assert self.cache is not None
        return list(self.cache.get(self._safe(self.index)) or ())

    def _safe(self, key: str) -> str:
        return safe_key(key, self.cache)
