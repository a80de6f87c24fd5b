"""Broker that keeps packages as rows of a database."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.apps import apps
from django.db import Error, connections, transaction
from django.db.models import Q
from django_q.brokers import EXACT_PRIORITIES, BulkBroker, Delivery, ListedPackage, PackageState
from django_q.brokers.bands import DEAD_SUFFIX
from django_q.brokers.base import lost
from django_q.databases.connections import forget_database
from django_q.databases.limits import SHORT_STATEMENT, byte_size, exceeded_limit
from django_q.databases.names import is_named
from django_q.databases.sqlite import short, short_and_slow
from django_q.databases.writable import WriteProbe
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.pacing import Throttle
from django_q.settings import current_settings

from django_q_orm.claims import RELEASED_NONCE, claim, released, returns_rows, row_of
from django_q_orm.due_times import DueTimes, due_times_of
from django_q_orm.errors import Conflict, meaning_of, repeated
from django_q_orm.inserts import insert, insert_and_notify, retry_while_locked
from django_q_orm.locks import by_primary_key
from django_q_orm.notify import MIN_POLL_SECONDS, Listener
from django_q_orm.stats import stats_in
from django_q_orm.zones import correct_locks, delayed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet
    from django_q.databases.statements import Statement

    from django_q_orm.models import OrmQ

T = TypeVar("T")

MAX_STATEMENT_ROWS = 500
"""Maximum number of ids in one statement: SQLite allows 999 parameters."""

FULL_SCAN_INTERVAL_SECONDS = 1.0
"""Maximum interval between two full scans of the queue. Only a full scan finds expired leases."""

LEASED_ROWS = Q(lease__isnull=False) & ~Q(lease__startswith=RELEASED_NONCE)
"""Condition of rows with a lease, which may have expired."""

MAX_NAME_CHARACTERS = 100
"""Length of the column with the name of the queue."""


class ORM(BulkBroker):
    """Keeps packages as rows. A lease is a lock in the future and a token that only its holder knows."""

    supports_delay = 10 * 365 * 86_400.0
    supports_lock_size = True
    supports_dead_letters = True
    supports_listing = True
    supports_prefetch = True
    priorities = EXACT_PRIORITIES
    blocks = True

    _zone: str | None = None
    """Time zone for which the locks of the queue were last corrected."""
    _busy = True
    """True if the last fetch returned packages."""
    _listener: Listener | None = None
    _next_poll_at = 0.0
    """Time of the next poll (`time.monotonic`)."""
    _due_at = float("inf")
    """Time at which the next known row is due. A row that is due before was inserted without a notification."""
    _since: str | None = None
    """PostgreSQL: lowest lock of rows that were never leased and may wait; None requires a full scan."""
    _ranked = False
    """PostgreSQL: True if the last claim found rows with priorities."""

    @classmethod
    def name_problem(cls, name: str) -> str | None:
        """Return an error if the name is too long for the table. The dead-letter queue has five more characters."""
        longest = MAX_NAME_CHARACTERS - len(DEAD_SUFFIX)
        return f"the database allows names of at most {longest} characters" if len(name) > longest else None

    @property
    def listener(self) -> Listener:
        """Listener for notifications of the queue, which wake a fetch."""
        if self._listener is None or self._listener.list_key != self.list_key:
            self._listener = Listener(self.list_key, self.settings.poll)
        return self._listener

    @cached_property
    def _full_scan(self) -> Throttle:
        """Throttle of full scans of the queue.

        PostgreSQL keeps deleted rows while a transaction is open that began before
        (https://www.postgresql.org/docs/current/routine-vacuuming.html). A full scan reads all of them.
        """
        return Throttle(FULL_SCAN_INTERVAL_SECONDS)

    @cached_property
    def _probe(self) -> WriteProbe:
        """Probe that detects that the server of an idle broker has become a read-only replica."""
        return WriteProbe(queue_table(self.alias).model, self.alias)

    @property
    def alias(self) -> str:  # pyrefly: ignore[bad-override]
        """Alias of the database that holds the queue."""
        return self.settings.orm or "default"

    @property
    def database(self) -> BaseDatabaseWrapper:
        """Django's connection of this thread."""
        _forget_in_children(self.alias)
        return connections[self.alias]

    @property
    def rows(self) -> QuerySet[OrmQ]:
        """The rows of this queue."""
        return queue_table(self.alias).filter(is_named("key", self.list_key))

    @property
    def _dead_rows(self) -> QuerySet[OrmQ]:
        return queue_table(self.alias).filter(is_named("key", self.dead_key))

    def _due_times(self, database: BaseDatabaseWrapper) -> DueTimes:
        return due_times_of(database, self.settings.retry)

    def connect(self) -> QuerySet[OrmQ]:
        """Return the rows of all queues."""
        return queue_table(self.alias)

    @staticmethod
    def get_connection(list_key: str | None = None) -> QuerySet[OrmQ]:
        """Return the rows of all queues, with the current settings."""
        return queue_table(current_settings().orm or "default")

    def disconnect(self) -> None:
        """Close the connection of this thread, unless a transaction is open."""
        if not self.database.in_atomic_block:
            self.database.close()

    # -- sending --------------------------------------------------------------------------------------------------

    @repeated
    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        """Insert a row, due after *delay* seconds, and return its id. In a transaction, it is visible at the commit."""
        return self._insert(package, delay, priority)

    @repeated
    def enqueue_beside(
        self, statement: Statement, package: str, *, delay: float = 0, priority: int = 0, **options: Any
    ) -> int:
        """Execute a statement and insert a row, both or none, on PostgreSQL in one round trip."""
        return self._insert(package, delay, priority, statement)

    def _insert(self, package: str, delay: float, priority: int, beside: Statement | None = None) -> int:
        with self._converting_errors() as database:
            check_size(package, database)
            due_times = self._due_times(database)
            columns = due_times.after(delay) if delay else due_times.at_once()
            row: dict[str, Any] = {"key": self.list_key, "payload": package, **columns}
            if priority:
                row["rank"] = -priority
            if database.vendor == "postgresql" and not delay:
                return insert_and_notify(queue_model(), database, self.listener, row, beside)
            if delay:
                row["lease"] = delayed(database)
            number = retry_while_locked(database, lambda: insert(queue_model(), database, row, beside))
            self.listener.notify(database)  # waiting consumers read the time at which the row is due
            return number

    @repeated
    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        """Insert rows of one priority, in order, and return their ids."""
        if not packages:
            return []
        table, longest, ids = queue_table(self.alias), max(packages, key=byte_size), list[int]()
        with self._converting_errors() as database:
            check_size(longest, database)
            columns = self._due_times(database).columns_of_many()
            for some in short(packages, database):
                rows = [
                    table.model(key=self.list_key, payload=package, rank=-priority, **columns(number))
                    for number, package in enumerate(some, len(ids))
                ]
                insert = partial(table.bulk_create, rows, batch_size=rows_of(longest))
                ids += [row.pk for row in retry_while_locked(database, insert)]
            self.listener.notify(database)
            return ids

    # -- fetching -------------------------------------------------------------------------------------------------

    @repeated
    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Lease up to *limit* rows, or `bulk` if that is set and less; wait up to *wait* seconds for the first."""
        now = time.monotonic()
        deadline = now + wait
        fair = self.is_fair_fetch()
        with self._converting_errors() as database:
            if self._zone != database.timezone_name:  # once per process
                rows = self._due_times(database).by_lock(self.rows)
                retry_while_locked(database, lambda: correct_locks(rows, database, self.settings.retry))
                self._zone = database.timezone_name
            found: list[Delivery] = []
            if self._busy or wait <= 0:
                found = self._claim(limit, fair, full_scan=wait <= 0)
            while not found and not self._was_blocked(now) and (now := time.monotonic()) < deadline:
                if self._next_poll_at <= now:
                    found = self._poll(limit, fair)
                elif self.listener.wait(database, min(self._next_poll_at, deadline) - now):
                    self._next_poll_at, now = 0.0, time.monotonic()
                    found = self._claim(limit, fair)
                else:
                    now = time.monotonic()
        if found:
            self.listener.found()
            self._next_poll_at = 0.0
        self._busy = bool(found)
        return found

    def _poll(self, limit: int, fair: bool) -> list[Delivery]:
        """Claim due rows, if there are any, and compute the time of the next poll."""
        self._probe.step()
        if self._since and not self._full_scan.due:
            return self._claim(limit, fair)
        found: list[Delivery] = []
        began = time.monotonic()
        with self._full_scan.timed():
            due = self._seconds_until_due()
        if self._was_blocked(began):
            return []
        if due <= 0:
            if self._due_at > time.monotonic():
                self.listener.found_unnotified()
            found = self._claim(limit, fair, full_scan=True)
            due = MIN_POLL_SECONDS
        now = time.monotonic()
        self._due_at = now + due
        self._next_poll_at = now + min(due, self.listener.next_pause(), max(self.settings.retry / 2, MIN_POLL_SECONDS))
        return found

    def _claim(self, limit: int, fair: bool, *, full_scan: bool = False) -> list[Delivery]:
        """Claim due rows, by priority, then the longest due first.

        Args:
            limit: maximum number of rows.
            fair: True to begin with the oldest row of a lower priority.
            full_scan: False to skip the range in which no row can wait.
        """
        limit = self.wanted(limit)
        if limit < 1:
            return []
        since = None if full_scan or self._full_scan.due else self._since
        with nullcontext() if since else self._full_scan.timed():
            claimed = claim(
                queue_table(self.alias),
                self.database,
                self.list_key,
                limit,
                self.settings.retry,
                fair=fair,
                since=since,
                ranked=self._ranked,
            )
        self._since, self._ranked = claimed.since, claimed.ranked
        if since and not claimed.rows:
            self._next_poll_at = time.monotonic() + self.listener.next_pause()
        return [Delivery(*each) for each in claimed.rows]

    def _was_blocked(self, since: float) -> bool:
        """Return True if the database took so long that leases must be renewed before the next fetch."""
        return time.monotonic() - since > self.settings.retry / 3

    def _seconds_until_due(self) -> float:
        return self._due_times(self.database).seconds_until_due(self.rows)

    # -- settling -------------------------------------------------------------------------------------------------

    @repeated
    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        """Delete leased rows, in one statement."""
        kept: list[str] = []
        with self._converting_errors() as database:
            for part in batches(ack_ids, database):
                kept += self._delete(database, part)
        return lost(ack_ids, kept)

    def _delete(self, database: BaseDatabaseWrapper, leases: Sequence[str]) -> list[str]:
        if database.vendor == "mysql":
            return self._delete_by_count(leases)
        if not returns_rows(database):
            held = self._held(leases)
            kept = [lease for lease in held.values_list("lease", flat=True) if lease]
            held.delete()
            return kept
        table = database.ops.quote_name(queue_table(self.alias).model._meta.db_table)
        places = ", ".join(["%s"] * len(leases))
        with database.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} WHERE id IN ({places}) AND lease IN ({places}) RETURNING lease",
                [*map(row_of, leases), *leases],
            )
            return [lease for (lease,) in cursor.fetchall()]

    def _delete_by_count(self, leases: Sequence[str]) -> list[str]:
        """Delete leased rows in one statement, or one by one if a lease was lost: MySQL returns only the count."""
        if len(leases) > 1:
            with transaction.atomic(using=self.alias):
                if self._held(leases).delete()[0] == len(leases):
                    return [*leases]
                transaction.set_rollback(True, using=self.alias)
        return [lease for lease in leases if self._held([lease]).delete()[0]]

    @repeated
    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        """Extend leases to `retry` seconds from now, in one statement."""
        gone: list[str] = []
        with self._converting_errors() as database:
            for part in batches(ack_ids, database):
                held = self._held(part)
                if held.update(**self._due_times(database).leased()) < len(part):
                    gone += lost(part, held.values_list("lease", flat=True))
        return gone

    @repeated
    def release_many(self, ack_ids: Sequence[str], delay: float = 0) -> list[str]:
        """Release rows: at once, before all others, or after *delay* seconds as failed attempts."""
        with self._converting_errors() as database:
            due_times = self._due_times(database)
            when = due_times.after(delay) if delay else due_times.returned()
            gone = set[str]()
            zone = database.timezone_name if delay > 0 and not database.features.supports_timezones else ""
            for lease, leases in released(ack_ids, attempted=delay > 0, zone=zone).items():
                gone.update(self._change(leases, lease=lease, **when))
            self.listener.notify(database)
        self._since = None
        return [each for each in ack_ids if each in gone]

    @repeated
    def expire(self, ack_id: str) -> bool:
        """Expire a lease: make the row due and keep the lease, which counts as an attempt."""
        with self._converting_errors() as database:
            gone = self._change([ack_id], **self._due_times(database).returned())
            self.listener.notify(database)
        self._since = None
        return not gone

    @repeated
    def fail(self, ack_id: str) -> bool:
        """Move a row to the dead letters, unless its lease has expired. Return False if it has."""
        with self._converting_errors() as database:
            leased = self._held([ack_id]).filter(self._due_times(database).is_later())
            return leased.update(key=self.dead_key, lock=None, lease=None) == 1

    def _held(self, leases: Sequence[str]) -> QuerySet[OrmQ]:
        return queue_table(self.alias).filter(id__in=[*map(row_of, leases)], lease__in=leases)

    def _change(self, leases: Sequence[str], **columns: Any) -> list[str]:
        """Update rows with a valid lease, and return the lost leases."""
        gone: list[str] = []
        for part in batches(leases, self.database):
            held = self._held(part)
            gone += lost(part, list(held.values_list("lease", flat=True)))
            held.update(**columns)
        return gone

    # -- dead letters ---------------------------------------------------------------------------------------------

    def dead_size(self) -> int:
        """Count the dead letters."""
        with self._converting_errors():
            return self._dead_rows.count()

    @repeated
    def requeue_dead(self, limit: int | None = None) -> int:
        """Requeue up to *limit* of the present dead letters and return their number."""
        moved = 0
        with self._converting_errors() as database:
            dead, due_times = self._dead_rows, self._due_times(database)
            for ids in batches(list(dead.order_by("id").values_list("id", flat=True)[:limit]), database):
                moved += dead.filter(id__in=ids).update(key=self.list_key, **due_times.requeued(ids, moved))
            self.listener.notify(database)
        return moved

    def list_dead(self, limit: int) -> list[str]:
        """Return the packages of up to *limit* dead letters, oldest first."""
        with self._converting_errors():
            return list(self._dead_rows.order_by("id").values_list("payload", flat=True)[: max(limit, 0)])

    @repeated
    def delete_dead(self, package: str) -> bool:
        """Delete a dead letter with this package. Return False if there is none.

        Packages are compared here, because not all databases compare long texts.
        """
        with self._converting_errors():
            rows = self._dead_rows.order_by("id").values_list("id", "payload").iterator()
            found = next((pk for pk, payload in rows if payload == package), None)
            return found is not None and bool(self._dead_rows.filter(id=found).delete()[0])

    # -- the queue ------------------------------------------------------------------------------------------------

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        """Return packages of one state. Ids are sorted first, because packages may be large."""
        with self._converting_errors() as database:
            due_times = self._due_times(database)
            rows, order = self._rows_of_state(state, due_times)
            ids = list(rows.order_by(*order, "id").values_list("id", flat=True)[offset : offset + max(limit, 0)])
            found = queue_table(self.alias).filter(id__in=ids).only("payload", "lock", "due", "own_lock").in_bulk()
            seconds = due_times.clock()
            if state in (PackageState.WAITING, PackageState.DEAD):
                return [ListedPackage(found[each].payload) for each in ids if each in found]
            return [ListedPackage(row.payload, max(seconds(row), 0.0)) for each in ids if (row := found.get(each))]

    def _rows_of_state(self, state: PackageState, due_times: DueTimes) -> tuple[QuerySet[OrmQ], tuple[str, ...]]:
        """Return the rows of a state, and the columns by which they are sorted."""
        match state:
            case PackageState.WAITING:
                return self.rows.filter(due_times.is_due()), ("rank", due_times.order)
            case PackageState.DELAYED:
                return self.rows.filter(~LEASED_ROWS, due_times.is_later()), (due_times.order,)
            case PackageState.LEASED:
                return self.rows.filter(LEASED_ROWS, due_times.is_later()), (due_times.order,)
            case PackageState.DEAD:
                return self._dead_rows, ()

    def queue_size(self) -> int:
        """Count the rows that are due."""
        with self._converting_errors() as database:
            return self.rows.filter(self._due_times(database).is_due()).count()

    def lock_size(self) -> int:
        """Count the leases."""
        with self._converting_errors() as database:
            return self.rows.filter(LEASED_ROWS, self._due_times(database).is_later()).count()

    @repeated
    def purge_queue(self) -> None:
        """Delete the rows that are not leased."""
        with self._converting_errors() as database:
            free = self.rows.filter(~LEASED_ROWS | self._due_times(database).is_due())
            delete_all(free, database)

    @repeated
    def delete_queue(self) -> None:
        """Delete all rows of the queue, dead letters included."""
        with self._converting_errors() as database:
            delete_all(self.rows, database)
            delete_all(self._dead_rows, database)

    def ping(self) -> bool:
        """Return True if the database is available."""
        try:
            with self._converting_errors() as database, database.cursor() as cursor:
                cursor.execute(f"SELECT 1{database.features.bare_select_suffix}")
        except BrokerError:
            return False
        return True

    def info(self) -> str:
        """Return the name and version of the database."""
        with self._converting_errors() as database:
            return f"{database.display_name} {'.'.join(map(str, database.get_database_version()))}"

    # -- statistics -----------------------------------------------------------------------------------------------

    @repeated
    def set_stat(self, key: str, value: str, timeout: float) -> None:
        """Store the statistics of a cluster in its row, on SQLite in a file beside the database."""
        with self._converting_errors() as database:
            stats_in(database).set(key, value, timeout)

    def get_stat(self, key: str) -> str | None:
        """Return the statistics under *key*; None if there are none."""
        with self._converting_errors() as database:
            return stats_in(database).get(key)

    def get_stats(self, pattern: str) -> list[str | bytes]:
        """Return the statistics under all keys that match *pattern*."""
        with self._converting_errors() as database:
            return stats_in(database).all(pattern)

    # -- the database ---------------------------------------------------------------------------------------------

    @contextmanager
    def _converting_errors(self) -> Iterator[BaseDatabaseWrapper]:
        """Convert errors of the database to broker errors. Close a broken session, so that the next call reconnects."""
        database = self.database
        try:
            with by_primary_key(database, queue_model()._meta.db_table):
                yield database
        except Error as error:
            meaning = meaning_of(error, self.alias)
            if database.in_atomic_block:  # only the owner of the transaction can repeat it
                if isinstance(meaning, Conflict):
                    meaning = BrokerUnavailable(*meaning.args)
            elif is_session_to_blame(meaning, database):
                database.close()
            raise meaning from error


def is_session_to_blame(error: BrokerError, database: BaseDatabaseWrapper) -> bool:
    """Return True if another session, perhaps with another server, may succeed."""
    if not isinstance(error, BrokerUnavailable) or isinstance(error, Conflict):
        return False
    return database.vendor != "sqlite" or "readonly" in str(error)  # a new session does not release locks of others


def queue_model() -> type[OrmQ]:
    """Return the model of the rows. It cannot be imported before the apps are loaded."""
    return apps.get_model("django_q_orm", "OrmQ")


def queue_table(alias: str) -> QuerySet[OrmQ]:
    """Return the rows of all queues of one database. Database routers are not used."""
    return queue_model()._default_manager.using(alias)


def delete_all(rows: QuerySet[OrmQ], database: BaseDatabaseWrapper) -> None:
    """Delete rows, on MySQL, MariaDB and SQLite in batches by ids: one large deletion would block other sessions."""
    if database.vendor not in ("mysql", "sqlite"):
        rows.delete()
        return
    for ids in short_and_slow(list(rows.values_list("pk", flat=True)), database):
        for part in batches(ids, database):
            rows.filter(pk__in=part).delete()


def check_size(package: str, database: BaseDatabaseWrapper) -> None:
    """Check that a package fits one statement. MySQL and MariaDB close the connection if it does not.

    Raises:
        PackageTooLarge: the package does not fit.
    """
    size = byte_size(package)
    if (limit := exceeded_limit(size, database)) is not None:
        raise PackageTooLarge(
            f"The package has {size} bytes, max_allowed_packet of the database '{database.alias}' is {limit}: "
            "send a reference instead of the data."
        )


def rows_of(package: str) -> int:
    """Return the number of rows that fit one statement, for the longest *package*."""
    return max(1, min(MAX_STATEMENT_ROWS, SHORT_STATEMENT // max(1, byte_size(package))))


def batches(items: Sequence[T], database: BaseDatabaseWrapper) -> Iterator[Sequence[T]]:
    """Yield batches that fit one statement and hold SQLite's lock for a short time."""
    for part in short(items, database):
        yield from (part[start : start + MAX_STATEMENT_ROWS] for start in range(0, len(part), MAX_STATEMENT_ROWS))


_forgotten: set[str] = set()


def _forget_in_children(alias: str) -> None:
    """Make forked children create their own connection or pool, and neither use nor close that of the parent."""
    if alias not in _forgotten and hasattr(os, "register_at_fork"):  # Windows does not fork
        _forgotten.add(alias)
        os.register_at_fork(after_in_child=partial(forget_database, alias))
