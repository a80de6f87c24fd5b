"""Statistics of clusters, in a Django cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.db import connections, router

from django_q.brokers.file_stats import FileStats
from django_q.caches.keys import safe_key
from django_q.databases.sqlite import folder_beside

if TYPE_CHECKING:
    from django.core.cache.backends.base import BaseCache


def stats_in(cache: BaseCache | None, index: str) -> CacheStats | FileStats:
    """Return where the statistics are kept that belong into a cache: not in one whose table is in an SQLite file."""
    if (table := getattr(cache, "cache_model_class", None)) is not None:
        folder = folder_beside(connections[router.db_for_write(table)])
        if folder is not None:
            return FileStats(folder)
    return CacheStats(cache, index)


class CacheStats:
    """One entry a cluster, and one list of their keys: caches cannot be searched."""

    def __init__(self, cache: BaseCache | None, index: str) -> None:
        self.cache = cache
        self.index = index

    def set(self, key: str, value: str, timeout: float) -> None:
        """Keep *value* for *timeout* seconds; a key another cluster's write dropped is listed again next time."""
        if self.cache is None:
            return
        self.cache.set(self._safe(key), value, timeout)
        keys = self._keys()
        if key not in keys:
            alive = self.cache.get_many(map(self._safe, keys)) or {}
            self.cache.set(self._safe(self.index), [*(each for each in keys if self._safe(each) in alive), key], None)

    def get(self, key: str) -> str | bytes | None:
        """What is kept under *key*."""
        return None if self.cache is None else cast("str | bytes | None", self.cache.get(self._safe(key)))

    def all(self, pattern: str) -> list[str | bytes]:
        """Everything kept under keys that match *pattern* (a prefix and `*`)."""
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
