"""The broker contract, and defaults for brokers that implement only part of it."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias, TypeVar

from django.core.cache import InvalidCacheBackendError, caches
from django.db import DEFAULT_DB_ALIAS, connections, transaction

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
    from django_q.brokers.listing import ListedPackage, PackageState
    from django_q.brokers.stats import CacheStats
    from django_q.databases.statements import Statement
    from django_q.settings import ClusterSettings

T = TypeVar("T")

DEAD_LETTER_FETCH: Final = 10
"""Number of dead letters that are leased together in the search for one. A FIFO queue delivers the next ones only with
the first, or when it is released."""

EXACT_PRIORITIES: Final = 201
"""Value of `Broker.priorities` if each priority is told apart."""

FAIR_FETCHES: Final = 10
"""Each fetch with this number begins with the oldest package of a lower priority, so that none waits without end."""

AckId: TypeAlias = Hashable
"""Receipt of a delivery. Each delivery of the same package has another one."""


class Delivery(NamedTuple):
    """A package that a broker delivered, with its receipt and attempt number."""

    ack_id: AckId | None
    """Receipt of the delivery; None if the broker has no receipts."""
    package: str | bytes
    """The signed package, not decoded."""
    attempt: int = 1
    """1 plus the number of earlier deliveries that started or may have started.

    Leases that expired and failed attempts that were released with a delay are counted. A release without delay is not
    counted. The count is deleted when the package is acknowledged or becomes a dead letter."""


class Broker:
    """The queue between the sender of a task and the cluster that executes it.

    A custom broker overrides `enqueue` and `dequeue`, and `acknowledge` if it has receipts. All other methods have
    defaults that call these three, so brokers written for older versions work unchanged.

    Args:
        list_key: name of the cluster; None means that of the settings.
        settings: of the cluster; None means the settings at the time of each call.
    """

    supports_receipts: bool = False
    """True if packages are kept until they are acknowledged. Derived for a class that only overrides `acknowledge`."""
    supports_bulk: bool = False
    """True if one fetch, and one acknowledgement, processes several packages in one round trip."""
    supports_renewal: bool = False
    """True if a lease can be renewed while its task runs."""
    leases_vary: bool = False
    """True if leases may be shorter than `retry`, because the sender of a package decides: see `lease_seconds`."""
    supports_delay: float = 0
    """Maximum number of seconds for which a package can be hidden before its delivery; 0 means no delay."""
    supports_lock_size: bool = False
    """True if the broker can count the packages under a lease."""
    supports_dead_letters: bool = False
    """True if `fail` keeps the package, to be counted and requeued, instead of deleting it."""
    supports_listing: bool = False
    """True if `list_packages` lists the packages of a queue without leasing them."""
    supports_prefetch: bool = False
    """True if an unstarted package can be released to its original position, without counting as an attempt."""
    priorities: int = 1
    """Number of priorities that are told apart: 1 none, 3 or more bands, `EXACT_PRIORITIES` each from -100 to 100.

    If it is greater than 1, the methods that enqueue accept `priority`. Of the visible packages, those with the
    greatest priority are delivered first. So that none waits without end, each `FAIR_FETCHES`th fetch of a broker
    begins with the oldest package of a lower priority. Bands do not know the age of each other's packages: there, the
    lower ones take turns."""
    acknowledges_failures: bool = False
    """True if failed tasks are acknowledged by default. The setting `ack_failures` overrides it."""
    alias: str | None = None
    """Alias of the database that holds the queue, None if none does. A transaction there queues when it commits."""
    keeps_statistics: bool = False
    """True if statistics are kept beside the packages, so that the pusher can publish them on its connection."""
    blocks: bool = False
    """True if a fetch from an empty queue waits by itself, and returns when a package arrives."""
    precision: float = 1.0
    """Maximum number of seconds by which a consumer notices the end of a wait, a lease or a delay late.

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
        self._fetches = 0
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

    @property
    def list_keys(self) -> list[str]:
        """Keys of all queues that this broker consumes."""
        return [self.list_key]

    @classmethod
    def queue_key(cls, name: str) -> str:
        """Return the product's name of the queue of the cluster *name*."""
        return name

    @classmethod
    def name_problem(cls, name: str) -> str | None:
        """Return why the product cannot have the queue of the cluster *name*, or its dead letters; None if it can."""
        return None

    @property
    def settings(self) -> ClusterSettings:
        """The settings that were passed in, or else the current ones."""
        return self._settings or current_settings()

    @settings.setter
    def settings(self, settings: ClusterSettings | None) -> None:
        self._settings = settings

    @classmethod
    def prepare(cls, settings: ClusterSettings) -> None:
        """Prepare client state before the processes of a cluster are forked. Must not open connections."""

    # -- the connection -------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Any:
        """The client of the product: process-local, created on first use."""
        return self._connection.get()

    @connection.setter
    def connection(self, connection: Any) -> None:
        self._connection.set(connection)

    def connect(self) -> Any:
        """Create the client."""
        return self.get_connection(self.list_key)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """Create the client. Brokers of older versions override this method."""
        return None

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> Any:
        """Queue a signed package and return the id that the product gives it.

        Args:
            package: the signed package.
            delay: seconds for which it is hidden.
            priority: from -100 to 100; the package keeps it until it is acknowledged. Passed only if `priorities` is
                greater than 1.
        """

    def enqueue_beside(self, statement: Statement, package: str, **options: Any) -> Any:
        """Execute a statement and queue a package, both or none, and return the id of the package.

        Only a broker with an `alias` is called.

        Args:
            statement: a statement of the database that holds the queue.
            package: the signed package.
            **options: of `enqueue`.
        """
        with transaction.atomic(using=self.alias):
            statement.execute(connections[self.alias or DEFAULT_DB_ALIAS])
            return self.enqueue(package, **options)

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[Any]:
        """Queue several packages, in order, and return their ids.

        Args:
            packages: the signed packages.
            priority: of all of them, as of `enqueue`.

        Raises:
            BrokerError: not all were queued. Its `sent` has the positions of those that were: sending only the others
                again creates no duplicates.
        """
        return enqueue_each(self, packages, **self._priority(priority))

    def enqueue_links(self, packages: Sequence[str], *, priority: int = 0) -> Any:
        """Queue the next links of chains, before the links that they follow are acknowledged.

        The default queues them as other packages. A broker whose server may be full accepts them nevertheless, because
        they replace the packages that they follow.
        """
        return self.enqueue_many(packages, **self._priority(priority))

    @staticmethod
    def _priority(priority: int) -> dict[str, int]:
        """Return the keywords of a call that enqueues. Brokers of older versions do not know `priority`."""
        return {"priority": priority} if priority else {}

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue(self) -> Sequence[tuple[Any, ...]] | None:
        """Lease up to `bulk` packages for `retry` seconds; wait about one second for the first.

        Returns:
            (ack id, package) or (ack id, package, attempt) of each. Deliveries without an attempt number are counted
            in the Django cache.
        """

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Lease up to *limit* packages; wait up to *wait* seconds for the first.

        A broker that overrides only `dequeue` returns all packages of one call, even if there are more than *limit*.
        """
        started = time.monotonic()
        found = self._numbered(list(self.dequeue() or ()))
        if not found and not self.blocks:
            pause = min(wait, self.settings.poll) - (time.monotonic() - started)
            time.sleep(max(pause, 0))
        return found

    def is_fair_fetch(self) -> bool:
        """Count a fetch. Return True if it has to begin with the oldest package of a lower priority.

        A package of a lower priority is thus delivered after at most `FAIR_FETCHES` fetches for each older one of a
        lower priority, however many of a higher priority arrive.
        """
        self._fetches = (self._fetches + 1) % FAIR_FETCHES
        return self._fetches == 0

    def _numbered(self, found: Sequence[tuple[Any, ...]]) -> list[Delivery]:
        """Return deliveries. Those with a receipt and without an attempt number are counted in the cache."""
        bare = [each for each in found if len(each) == 2 and each[0] is not None] if self.supports_receipts else []
        attempts = {id(each): each[2] for each in found if len(each) > 2}
        if bare:
            attempts |= zip(map(id, bare), self._cached_attempts.delivered(bare), strict=True)
        return [Delivery(each[0], each[1], attempts.get(id(each), 1)) for each in found]

    # -- settling a delivery --------------------------------------------------------------------------------------

    def acknowledge(self, ack_id: Any) -> bool | None:
        """Delete a package whose outcome is saved. Return False if the lease was lost; then nothing changes."""

    def acknowledge_many(self, ack_ids: Sequence[Any]) -> list[Any]:
        """Delete several packages and return the ids whose lease was lost."""
        lost = [ack_id for ack_id in ack_ids if self.acknowledge(ack_id) is False]
        self._cached_attempts.acknowledged(ack_id for ack_id in ack_ids if ack_id not in lost)
        return lost

    def renew(self, ack_ids: Sequence[Any]) -> list[Any]:
        """Extend leases to `retry` seconds from now and return the ids whose lease was lost.

        A lease is lost at the latest when the package is delivered to another consumer. Between its end and that
        delivery it may still be settled or renewed, because no other consumer works on the package.
        """
        return []

    def lease_seconds(self, ack_id: Any) -> float:
        """Return the duration of a lease in seconds. Called only if `leases_vary` is true."""
        return self.settings.retry

    def release(self, ack_id: Any, delay: float = 0) -> bool | None:
        """Release a package, to be delivered again after *delay* seconds. Return False if the lease was lost.

        With a delay, the delivery counts as a failed attempt. Without one, it is not counted: its task did not start.
        The default does nothing: the package is delivered again when its lease expires.
        """

    def release_many(self, ack_ids: Sequence[Any], delay: float = 0) -> list[Any]:
        """Release several packages for *delay* seconds and return the ids whose lease was lost."""
        lost = [ack_id for ack_id in ack_ids if self.release(ack_id, delay) is False]
        if delay <= 0:
            self._cached_attempts.not_started(ack_id for ack_id in ack_ids if ack_id not in lost)
        return lost

    def expire(self, ack_id: Any) -> bool | None:
        """Expire a lease now: the package becomes visible again and the delivery counts as an attempt.

        The default does nothing: the lease expires at its end. Return False if the lease was lost.
        """

    def fail(self, ack_id: Any) -> bool | None:
        """Move an unreadable package to the dead-letter queue. Return False if the lease was lost."""

    def delete(self, ack_id: Any) -> bool | None:
        """Delete a package from the queue. Return False if the lease was lost."""

    def broker_of_delivery(self, ack_id: Any) -> Broker:
        """Return the broker of the queue that delivered a package: this one, unless it consumes several queues."""
        return self

    # -- dead letters ---------------------------------------------------------------------------------------------

    @property
    def dead_key(self) -> str:
        """Name of the dead-letter queue."""
        return f"{self.list_key}-dead"

    def dead_letters(self) -> Self:
        """Return a broker of the dead-letter queue, for products that have no dead letters of their own."""
        other = type(self)(list_key=self.dead_key)
        other.list_key, other.settings = self.dead_key, self._settings
        return other

    def is_lost(self, delivery: Delivery) -> bool:
        """Return True if the lease of a delivery was lost; renew it otherwise.

        A broker without `supports_renewal` cannot tell and returns False.
        """
        return self.supports_renewal and delivery.ack_id is not None and bool(self.renew([delivery.ack_id]))

    def move_to_dead_letters(self, delivery: Delivery) -> None:
        """Move an unreadable package to the dead-letter queue, even if `fail` of this broker deletes packages.

        If the lease was lost, nothing changes, because the package has another holder. A broker without
        `supports_renewal` cannot tell before it has copied the package.
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
        """Return the number of dead letters."""
        return self.dead_letters().queue_size()

    def requeue_dead(self, limit: int | None = None) -> int:
        """Requeue dead letters, oldest first, each of them once, and return their number.

        It stops after as many as there are at the start, so that it ends beside a cluster that still cannot read them.
        A broker that does not count its packages stops at the first package that it has requeued before.

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

    def list_dead(self, limit: int) -> list[str]:
        """Return the packages of up to *limit* dead letters, oldest first. They stay as they are.

        The default leases and releases them. On a broker without receipts or without release, it queues them again.
        """
        dead = self.dead_letters()
        found: list[Delivery] = []
        while len(found) < limit and (part := dead.dequeue_many(limit - len(found), 0)):
            found += part
        keep(dead, found)
        return [as_text(delivery.package) for delivery in found]

    def delete_dead(self, package: str) -> bool:
        """Delete a dead letter with this package, as `list_dead` returned it. Return False if there is none.

        The default leases dead letters until it finds the package, and releases the others.
        """
        dead = self.dead_letters()
        found: list[Delivery] = []
        is_found = False
        while not is_found and (part := dead.dequeue_many(DEAD_LETTER_FETCH, 0)):
            found += part
            is_found = any(as_text(delivery.package) == package for delivery in part)
        if is_found:
            index = next(i for i, delivery in enumerate(found) if as_text(delivery.package) == package)
            if (ack_id := found.pop(index).ack_id) is not None:
                dead.acknowledge(ack_id)
        keep(dead, found)
        return is_found

    # -- the queue ------------------------------------------------------------------------------------------------

    def queue_size(self) -> int:
        """Return the number of waiting packages, without those under a lease."""
        return 0

    def lock_size(self) -> int | None:
        """Return the number of packages under a lease; None if the product cannot count them."""

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        """Return packages of one state. They stay as they are, and no lease begins.

        Called only if `supports_listing` is true.

        Args:
            state: the state.
            limit: maximum number of packages.
            offset: number of packages to skip.

        Returns:
            Waiting packages in the order of delivery, delayed and leased ones by the end of their delay or lease, and
            dead letters oldest first.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot list packages")

    def purge_queue(self) -> Any:
        """Delete each package that waits, is delayed, or whose lease has expired.

        Packages under a lease and dead letters stay. If the product cannot tell them apart, the README says so.
        """

    def delete_queue(self) -> Any:
        """Delete the queue with its leases and dead letters.

        Sending a package creates the queue again. A fetch that waits meanwhile returns packages of the new queue.
        """

    def disconnect(self) -> None:
        """Close the connections of this process, for example before a fork. The next call connects again."""

    def ping(self) -> bool:
        """Return True if the server is available. Never raises."""
        return True

    def info(self) -> str:
        """Return the name and version of the product."""
        return type(self).__name__

    def server_warnings(self) -> list[str]:
        """Return one sentence, with the remedy, for each setting of the server that may lose packages.

        A cluster calls this when it first connects to the broker, and logs the sentences.

        Raises:
            BrokerUnavailable: the server cannot answer now.
        """
        return []

    # -- statistics -----------------------------------------------------------------------------------------------

    @staticmethod
    def get_cache(alias: str | None = None) -> BaseCache | None:
        """Return the Django cache for statistics and cached results; None if there is no such cache."""
        try:
            return caches[alias or current_settings().cache]
        except InvalidCacheBackendError:
            return None

    @property
    def cache(self) -> BaseCache | None:
        """The cache that the settings name."""
        return self.get_cache(self.settings.cache)

    def set_stat(self, key: str, value: str, timeout: float) -> None:
        """Store the statistics of a cluster under *key* for *timeout* seconds.

        Raises:
            BrokerUnavailable: the cache cannot be used.
        """
        self._use_statistics(lambda stats: stats.set(key, value, timeout))

    def get_stat(self, key: str) -> str | bytes | None:
        """Return the statistics under *key*; None if there are none.

        Raises:
            BrokerUnavailable: the cache cannot be used.
        """
        return self._use_statistics(lambda stats: stats.get(key))

    def get_stats(self, pattern: str) -> list[str | bytes]:
        """Return the statistics under all keys that match *pattern*, a prefix and `*`.

        Raises:
            BrokerUnavailable: the cache cannot be used.
        """
        return self._use_statistics(lambda stats: stats.all(pattern))

    def _use_statistics(self, use: Callable[[CacheStats | FileStats], T]) -> T:
        try:
            return CALLS.make(lambda: use(stats_in(self.cache, self.settings.q_stat)))
        except Exception as error:
            raise BrokerUnavailable(
                f"The cache {self.settings.cache!r} cannot be used for statistics ({error_line(error)}): check that it "
                "runs, and CACHES."
            ) from error


def enqueue_each(broker: Broker, packages: Iterable[str], **options: Any) -> list[Any]:
    """Queue packages one by one, in order.

    Args:
        broker: broker of the queue.
        packages: signed packages.
        **options: options of each call of `enqueue`: `delay` in seconds, `priority`.

    Returns:
        The ids that the broker gives the packages.

    Raises:
        BrokerError: one was not queued. Its `sent` has the positions before it. Custom brokers may raise other errors.
    """
    ids: list[Any] = []
    for package in packages:
        try:
            ids.append(broker.enqueue(package, **options))
        except Exception as error:
            mark_sent(error, range(len(ids)))
            raise
    return ids


def keep(dead: Broker, deliveries: Sequence[Delivery]) -> None:
    """Release dead letters that were only read. If the broker has no receipts or no release, they are queued again."""
    releases = type(dead).release is not Broker.release or type(dead).release_many is not Broker.release_many
    if releases and (receipts := [delivery.ack_id for delivery in deliveries if delivery.ack_id is not None]):
        dead.release_many(receipts)
    for delivery in deliveries:
        if delivery.ack_id is None or not releases:
            dead.enqueue(as_text(delivery.package))
            dead.acknowledge(delivery.ack_id)


def as_text(package: str | bytes) -> str:
    """Return a package as a text, as `enqueue` expects it."""
    return package.decode("utf-8", "backslashreplace") if isinstance(package, bytes) else package


def lost(ack_ids: Iterable[Any], kept: Iterable[Any]) -> list[Any]:
    """Return the ids in *ack_ids* that are missing from *kept*, in order."""
    found = set(kept)
    return [ack_id for ack_id in ack_ids if ack_id not in found]
