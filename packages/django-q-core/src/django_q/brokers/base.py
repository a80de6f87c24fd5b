"""What every broker promises, and what a broker that promises less gets for free."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias, TypeVar

from django.core.cache import InvalidCacheBackendError, caches

from django_q.brokers.cache_counts import CacheCounts
from django_q.brokers.cached_attempts import CachedAttempts
from django_q.brokers.process_local import ProcessLocal
from django_q.brokers.stats import stats_in
from django_q.caches.calls import CALLS
from django_q.exceptions import BrokerUnavailable, mark_sent
from django_q.settings import current_settings
from django_q.text import error_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.cache.backends.base import BaseCache

    from django_q.brokers.file_stats import FileStats
    from django_q.brokers.stats import CacheStats
    from django_q.settings import ClusterSettings

T = TypeVar("T")

AckId: TypeAlias = Hashable
"""What a broker knows a delivery by; another one for each delivery of the same package."""


class Delivery(NamedTuple):
    """A package on its way to a worker."""

    ack_id: AckId | None
    """What to acknowledge it with; None where the broker gives no receipts."""
    package: str | bytes
    """The signed task, unread."""
    attempt: int = 1
    """1 plus the number of earlier deliveries that started or may have started.

    Counted are leases that expired and failed attempts that were released with a delay. A release without delay is not
    counted. Acknowledging a package, or making it a dead letter, ends its count."""


class Broker:
    """The queue between the sender of a task and the cluster that runs it.

    A custom broker overrides `enqueue` and `dequeue`, and `acknowledge` if it gives receipts. Everything else has a
    default in terms of these three, so brokers written for older versions work unchanged.
    """

    supports_receipts: bool = False
    """Does it keep a package until that is acknowledged? Derived for a class that only overrides `acknowledge`."""
    supports_bulk: bool = False
    """Does one fetch, and one acknowledgement, carry several packages in one round trip?"""
    supports_renewal: bool = False
    """Can a lease be prolonged while its task runs?"""
    leases_vary: bool = False
    """True if leases may be shorter than `retry`, because the sender of a package decides: see `lease_seconds`."""
    supports_delay: float = 0
    """For how many seconds, at most, can a package be hidden before it is offered? 0 means not at all."""
    supports_lock_size: bool = False
    """Does it know how many packages are under a lease?"""
    supports_dead_letters: bool = False
    """Does `fail` keep the package, to be counted and requeued, instead of deleting it?"""
    supports_prefetch: bool = False
    """Can packages be fetched on approval, and given back at once, in their place and without a trace?"""
    acknowledges_failures: bool = False
    """Are failed tasks acknowledged unless `ack_failures` says otherwise?"""
    alias: str | None = None
    """Which database holds the queue, if one does, so that what a transaction queues is there when that commits?"""
    keeps_statistics: bool = False
    """Are statistics kept where the packages are, so that who fetches can publish them on the same connection?"""
    blocks: bool = False
    """Does a fetch from an empty queue wait by itself, and wake when something arrives?"""
    precision: float = 1.0
    """Seconds by which a waiting consumer may be late to notice the end of a wait, a lease or a delay.

    Products that count whole seconds keep the default. A lease or a delay never ends early.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        declared = any("supports_receipts" in vars(base) for base in cls.__mro__ if base is not Broker)
        if not declared and cls.acknowledge is not Broker.acknowledge:
            cls.supports_receipts = True

    def __init__(self, list_key: str | None = None, *, settings: ClusterSettings | None = None) -> None:
        self._begin(settings)
        self.list_key = self.queue_key(list_key or self.settings.list_key)

    def _begin(self, settings: ClusterSettings | None) -> None:
        self._settings = settings
        self._connection: ProcessLocal[Any] = ProcessLocal(self.connect)
        counts = CacheCounts(lambda: self.cache, lambda: self.list_key, "deliveries")
        self._cached_attempts = CachedAttempts(counts)

    def __getstate__(self) -> tuple[str, ClusterSettings | None]:
        return self.list_key, self._settings

    def __setstate__(self, state: tuple[str, ClusterSettings | None]) -> None:
        list_key, settings = state
        self._begin(settings)
        self.list_key = list_key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.list_key}>"

    @classmethod
    def queue_key(cls, name: str) -> str:
        """What the product calls the queue of the cluster *name*."""
        return name

    @classmethod
    def name_problem(cls, name: str) -> str | None:
        """Return why the product cannot have the queue of the cluster *name*, or its dead letters; None if it can."""
        return None

    @property
    def settings(self) -> ClusterSettings:
        """The settings it was given, or those of this moment."""
        return self._settings or current_settings()

    @settings.setter
    def settings(self, settings: ClusterSettings | None) -> None:
        self._settings = settings

    @classmethod
    def prepare(cls, settings: ClusterSettings) -> None:
        """Have ready what each process of a cluster needs to connect, before they are forked: nothing may be open."""

    # -- the connection -------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Any:
        """The client of the product, made when first asked for, once a process."""
        return self._connection.get()

    @connection.setter
    def connection(self, connection: Any) -> None:
        self._connection.set(connection)

    def connect(self) -> Any:
        """Make the client."""
        return self.get_connection(self.list_key)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """Make the client: what brokers of older versions override."""
        return None

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0) -> Any:
        """Put a signed package on the queue, hidden for *delay* seconds, and give its id."""

    def enqueue_many(self, packages: Sequence[str]) -> list[Any]:
        """Put several packages on the queue, in order.

        Raises:
            BrokerError: not all were put there. Its `sent` has the positions of those that were: sending only the
                others again makes no duplicates.
        """
        return enqueue_each(self, packages)

    def enqueue_links(self, packages: Sequence[str]) -> Any:
        """Put the next links of chains on the queue, before those that they follow are acknowledged.

        Without a method of its own, a broker puts them there as any others. One whose server may be full takes them
        nevertheless: they take the place of the packages that they follow.
        """
        return self.enqueue_many(packages)

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue(self) -> Sequence[tuple[Any, ...]] | None:
        """Take up to `bulk` packages, each under a lease of `retry` seconds; wait about a second for the first.

        Returns:
            (ack id, package) or (ack id, package, attempt) of each. Deliveries without an attempt number are counted
            in the Django cache.
        """

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Take up to *limit* packages, each under a lease; wait up to *wait* seconds for the first.

        A broker that overrides only `dequeue` returns all of its packages, even if they are more than *limit*.
        """
        started = time.monotonic()
        found = self._numbered(list(self.dequeue() or ()))
        if not found and not self.blocks:
            pause = min(wait, self.settings.poll) - (time.monotonic() - started)
            time.sleep(max(pause, 0))
        return found

    def _numbered(self, found: Sequence[tuple[Any, ...]]) -> list[Delivery]:
        """Make deliveries; count those in the cache that have a receipt and no attempt number."""
        bare = [each for each in found if len(each) == 2 and each[0] is not None] if self.supports_receipts else []
        attempts = {id(each): each[2] for each in found if len(each) > 2}
        if bare:
            attempts |= zip(map(id, bare), self._cached_attempts.delivered(bare), strict=True)
        return [Delivery(each[0], each[1], attempts.get(id(each), 1)) for each in found]

    # -- settling a delivery --------------------------------------------------------------------------------------

    def acknowledge(self, ack_id: Any) -> bool | None:
        """Forget the package: its outcome is saved. False means that the lease was lost, and nothing was changed."""

    def acknowledge_many(self, ack_ids: Sequence[Any]) -> list[Any]:
        """Forget several packages and return the ids whose lease was lost."""
        lost = [ack_id for ack_id in ack_ids if self.acknowledge(ack_id) is False]
        self._cached_attempts.acknowledged(ack_id for ack_id in ack_ids if ack_id not in lost)
        return lost

    def renew(self, ack_ids: Sequence[Any]) -> list[Any]:
        """Begin the leases again, `retry` seconds from now, and give the ids whose lease was lost.

        A lease is lost at the latest when another consumer has taken the package. Between its end and that moment, it
        may still be settled or renewed: no other consumer works on the package.
        """
        return []

    def lease_seconds(self, ack_id: Any) -> float:
        """Return how long a lease lasts, in seconds; asked only if `leases_vary`."""
        return self.settings.retry

    def release(self, ack_id: Any, delay: float = 0) -> bool | None:
        """Offer the package again after *delay* seconds; without a method of its own, when the lease ends.

        With a delay, the delivery was a failed attempt. Without one, its task did not start: it is not counted.
        """

    def release_many(self, ack_ids: Sequence[Any], delay: float = 0) -> list[Any]:
        """Offer several packages again after *delay* seconds and return the ids whose lease was lost."""
        lost = [ack_id for ack_id in ack_ids if self.release(ack_id, delay) is False]
        if delay <= 0:
            self._cached_attempts.not_started(ack_id for ack_id in ack_ids if ack_id not in lost)
        return lost

    def expire(self, ack_id: Any) -> bool | None:
        """Expire a lease now: the package becomes visible again and the delivery counts as an attempt.

        Without a method of its own, a broker lets the lease end by itself.
        """

    def fail(self, ack_id: Any) -> bool | None:
        """Put a package that nobody can read among the dead letters."""

    def delete(self, ack_id: Any) -> bool | None:
        """Remove the package from the queue."""

    # -- dead letters ---------------------------------------------------------------------------------------------

    @property
    def dead_key(self) -> str:
        """The queue of the dead letters."""
        return f"{self.list_key}-dead"

    def dead_letters(self) -> Self:
        """The broker of the dead letters, where the product has no such queue of its own."""
        other = type(self)(list_key=self.dead_key)
        other.list_key, other.settings = self.dead_key, self._settings
        return other

    def is_lost(self, delivery: Delivery) -> bool:
        """Return True if the lease of a delivery was lost; renew it otherwise.

        Without `supports_renewal`, a broker cannot tell: False.
        """
        return self.supports_renewal and delivery.ack_id is not None and bool(self.renew([delivery.ack_id]))

    def move_to_dead_letters(self, delivery: Delivery) -> None:
        """Keep an unreadable package among the dead letters, whatever this broker's `fail` does.

        If the lease was lost, nothing changes: the package is another holder's. A broker without `supports_renewal`
        cannot tell before it has copied the package.
        """
        if self.supports_dead_letters and delivery.ack_id is not None:
            self.fail(delivery.ack_id)
            return
        if self.is_lost(delivery):
            return
        self.dead_letters().enqueue(as_text(delivery.package))
        self.acknowledge(delivery.ack_id)
        if delivery.ack_id is not None:
            self._cached_attempts.dead(delivery.package)

    def dead_size(self) -> int:
        """How many dead letters there are."""
        return self.dead_letters().queue_size()

    def requeue_dead(self, limit: int | None = None) -> int:
        """Offer dead letters again, oldest first, each of them once; return how many.

        This ends beside a cluster that still cannot read them: it stops after as many as there are at the start. A
        broker that does not count its packages stops at the first package that it has offered before.

        Args:
            limit: maximum number of dead letters; None means all.
        """
        dead = self.dead_letters()
        size = dead.queue_size()
        most = min(size or math.inf, math.inf if limit is None else limit)
        known = set[str]()
        moved, goes_on = 0, True
        while goes_on and moved < most and (found := dead.dequeue_many(1, 0)):
            for delivery in found:
                package = as_text(delivery.package)
                goes_on = goes_on and moved < most and (bool(size) or package not in known)
                if goes_on:
                    self.enqueue(package)
                    moved += 1
                    known.add(package)
                else:
                    dead.enqueue(package)
                dead.acknowledge(delivery.ack_id)
        return moved

    # -- the queue ------------------------------------------------------------------------------------------------

    def queue_size(self) -> int:
        """How many packages wait, without those under a lease."""
        return 0

    def lock_size(self) -> int | None:
        """How many packages are under a lease; None where the product does not tell."""

    def purge_queue(self) -> Any:
        """Forget every package that waits, is hidden for a while, or whose lease has ended.

        Packages under a lease and dead letters stay. If the product cannot tell them apart, the README says so.
        """

    def delete_queue(self) -> Any:
        """Forget the queue and everything about it: leases are lost, dead letters are deleted.

        The queue is made anew when something is sent, and a fetch that waits meanwhile is served from the new one.
        """

    def disconnect(self) -> None:
        """Close what is open in this process, such as before a fork; the next call connects anew."""

    def ping(self) -> bool:
        """Is the server there? Never raises."""
        return True

    def info(self) -> str:
        """The name and version of the product."""
        return type(self).__name__

    def server_warnings(self) -> list[str]:
        """Return what in the configuration of the server endangers packages, a sentence each with the remedy.

        A cluster asks when it first reaches the broker, and logs them.

        Raises:
            BrokerUnavailable: the server cannot be asked at the moment.
        """
        return []

    # -- statistics -----------------------------------------------------------------------------------------------

    @staticmethod
    def get_cache(alias: str | None = None) -> BaseCache | None:
        """The Django cache that holds statistics and cached results; None when there is no such cache."""
        try:
            return caches[alias or current_settings().cache]
        except InvalidCacheBackendError:
            return None

    @property
    def cache(self) -> BaseCache | None:
        """The cache its settings name."""
        return self.get_cache(self.settings.cache)

    def set_stat(self, key: str, value: str, timeout: float) -> None:
        """Keep a cluster's statistics under *key* for *timeout* seconds."""
        self._use_statistics(lambda stats: stats.set(key, value, timeout))

    def get_stat(self, key: str) -> str | bytes | None:
        """The statistics under *key*."""
        return self._use_statistics(lambda stats: stats.get(key))

    def get_stats(self, pattern: str) -> list[str | bytes]:
        """All statistics whose key begins as *pattern* does, up to its `*`."""
        return self._use_statistics(lambda stats: stats.all(pattern))

    def _use_statistics(self, use: Callable[[CacheStats | FileStats], T]) -> T:
        try:
            return CALLS.make(lambda: use(stats_in(self.cache, self.settings.q_stat)))
        except Exception as error:
            raise BrokerUnavailable(
                f"The cache {self.settings.cache!r} cannot be used for statistics ({error_line(error)}): check that it "
                "runs, and CACHES."
            ) from error


def enqueue_each(broker: Broker, packages: Iterable[str], **options: float) -> list[Any]:
    """Queue packages one by one, in order.

    Args:
        broker: whose queue it is.
        packages: signed.
        **options: of each call of `enqueue`, such as `delay` in seconds.

    Returns:
        The ids that the broker gives them.

    Raises:
        BrokerError: one was not queued; those before it are in its `sent`. A custom broker may raise another error.
    """
    ids: list[Any] = []
    for package in packages:
        try:
            ids.append(broker.enqueue(package, **options))
        except Exception as error:
            mark_sent(error, range(len(ids)))
            raise
    return ids


def as_text(package: str | bytes) -> str:
    """A package as `enqueue` takes it."""
    return package.decode("utf-8", "backslashreplace") if isinstance(package, bytes) else package


def lost(ack_ids: Iterable[Any], kept: Iterable[Any]) -> list[Any]:
    """Those of *ack_ids* that are not among *kept*, in order."""
    found = set(kept)
    return [ack_id for ack_id in ack_ids if ack_id not in found]
