"""Counts by name in the Django cache, for brokers whose product does not keep them."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final, cast

from django.core.cache.backends.dummy import DummyCache

from django_q.caches.calls import CALLS
from django_q.log import messages as log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from django.core.cache.backends.base import BaseCache


TIMEOUT_SECONDS: Final = 14 * 86_400
"""Time to live of a count after its last change."""

PAUSE_SECONDS: Final = 30.0
"""Pause in using a cache that raised an error, was slow, or did not keep a count."""

SLOW_SECONDS: Final = 1.0
"""Duration from which a call is slow: a client that ignores errors may have waited for an unavailable server."""


class NotKeptError(Exception):
    """The cache does not keep what is written."""


class CacheCounts:
    """Keeps counts as reliably as the cache keeps values: a count that is lost starts again at 0.

    Only the holder of a lease changes the count of its package, so reading and writing need not be atomic.

    Args:
        cache: function that returns the cache; None disables counting.
        queue: function that returns the name of the queue, unique in the cache.
        kind: plural noun of the counted events; part of the keys.
    """

    def __init__(self, cache: Callable[[], BaseCache | None], queue: Callable[[], str], kind: str) -> None:
        self._cache = cache
        self._queue = queue
        self._kind = kind
        self._resume_at = self._verify_at = 0.0

    def read(self, names: Iterable[str]) -> dict[str, int]:
        """Return the counts above 0."""
        keys = self._keys(names)
        found = self._use("read", lambda cache: cache.get_many(list(keys))) if keys else None
        return {keys[key]: count for key, count in (found or {}).items()}

    def add(self, names: Iterable[str], number: int = 1) -> dict[str, int]:
        """Add *number* to each count and return the new counts."""
        keys = self._keys(names)
        if not keys:
            return {}

        def count(cache: BaseCache) -> dict[str, int]:
            known = cache.get_many(list(keys)) or {}
            changed = {key: known.get(key, 0) + number for key in keys}
            refused = cache.set_many(changed, TIMEOUT_SECONDS)
            if refused or not self._are_kept(cache, changed):
                raise NotKeptError("they were not kept")
            return changed

        return {keys[key]: count for key, count in (self._use("written", count) or {}).items()}

    def forget(self, names: Iterable[str]) -> None:
        """Delete counts."""
        if keys := self._keys(names):
            self._use("deleted", lambda cache: cache.delete_many(list(keys)))

    def _use(self, done: str, work: Callable[[BaseCache], Any]) -> dict[str, int] | None:
        """Call *work* unless the cache failed less than PAUSE_SECONDS ago, so that counting delays no deliveries."""
        began = time.monotonic()
        if began < self._resume_at:
            return None

        def use() -> Any:
            cache = self._cache()
            return None if cache is None else work(cache)

        try:
            found = CALLS.make(use)
        except Exception as error:  # noqa: BLE001 - each cache has its own errors
            self._pause(done, str(error))
            return None
        if (seconds := time.monotonic() - began) > SLOW_SECONDS:
            self._pause(done, f"it took {seconds:.1f} s")
        return cast("dict[str, int] | None", found)

    def _pause(self, done: str, reason: str) -> None:
        self._resume_at = time.monotonic() + PAUSE_SECONDS
        log.cache.paused(self._kind, done, reason, PAUSE_SECONDS)

    def _are_kept(self, cache: BaseCache, counts: dict[str, int]) -> bool:
        """Read one count at most every PAUSE_SECONDS: a client that ignores its errors can be detected only so."""
        if time.monotonic() < self._verify_at or type(cache) is DummyCache:
            return True
        self._verify_at = time.monotonic() + PAUSE_SECONDS
        return bool(cache.get_many(list(counts)[:1]))

    def _keys(self, names: Iterable[str]) -> dict[str, str]:
        return {self._key(name): name for name in names}

    def _key(self, name: str) -> str:
        return f"django_q:{self._kind}:" + hashlib.sha256(f"{self._queue()}\n{name}".encode()).hexdigest()
