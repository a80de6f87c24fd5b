"""Attempt numbers for custom brokers that do not count deliveries."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_q.brokers.cache_counts import CacheCounts

MAX_KNOWN_LEASES: Final = 10_000
"""Maximum number of deliveries whose digests a process keeps, so that it can undo their counts."""


class CachedAttempts:
    """Counts each delivery of a package in the cache, by the hash of the package.

    Only the process that fetched a package knows its hash. In a cluster, another process acknowledges it, so the count
    stays in the cache until its timeout. Packages contain a unique id, so no other package uses that count.

    Args:
        counts: counts of the queue.
    """

    def __init__(self, counts: CacheCounts) -> None:
        self._counts = counts
        self._leases: OrderedDict[Any, str] = OrderedDict()

    def delivered(self, deliveries: Sequence[tuple[Any, str | bytes]]) -> list[int]:
        """Count deliveries and return the attempt number of each."""
        digests = [digest_of(package) for _ack_id, package in deliveries]
        counts = self._counts.add(digests)
        self._leases.update(zip((ack_id for ack_id, _package in deliveries), digests, strict=True))
        while len(self._leases) > MAX_KNOWN_LEASES:
            self._leases.popitem(last=False)
        return [counts.get(digest, 1) for digest in digests]

    def not_started(self, ack_ids: Iterable[Any]) -> None:
        """Undo the count of deliveries that did not start."""
        self._counts.add(self._known(ack_ids), -1)

    def acknowledged(self, ack_ids: Iterable[Any]) -> None:
        """Delete the counts of acknowledged packages."""
        self._counts.forget(self._known(ack_ids))

    def dead(self, package: str | bytes) -> None:
        """Delete the count of a package that becomes a dead letter."""
        self._counts.forget([digest_of(package)])

    def _known(self, ack_ids: Iterable[Any]) -> list[str]:
        return [digest for ack_id in ack_ids if (digest := self._leases.pop(ack_id, None)) is not None]


def digest_of(package: str | bytes) -> str:
    """Return the hash that identifies a package."""
    data = package.encode("utf-8", "surrogatepass") if isinstance(package, str) else package
    return hashlib.sha256(data).hexdigest()
