"""Broker that keeps packages in MongoDB."""

from __future__ import annotations

import math
import secrets
import time
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from django_q import clock
from django_q.brokers import EXACT_PRIORITIES, BulkBroker, Delivery, ListedPackage, PackageState
from django_q.brokers.base import as_text, lost
from django_q.brokers.process_local import ProcessLocal
from django_q.exceptions import ConfigurationError
from django_q.settings import current_settings
from pymongo import IndexModel, ReturnDocument
from pymongo.errors import PyMongoError

from django_q_mongo import documents
from django_q_mongo.client import Client, client_for, database_of, key_of, leave_client
from django_q_mongo.errors import converting_errors
from django_q_mongo.server_clock import clock_for
from django_q_mongo.sizes import check_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from django_q.settings import ClusterSettings
    from pymongo.collection import Collection

MAX_FETCHED_PACKAGES = 1000
"""Maximum number of packages of one fetch."""

MAX_SINGLE_LEASES = 3
"""Maximum number of packages that are leased one by one. A batch needs three commands, and may collide with others."""

MAX_CANDIDATE_SEARCHES = 5
"""Maximum number of searches of one fetch, if other consumers lease all packages that it found."""

INDEX_CHECK_SECONDS = 1.0
"""Interval at which a broker ensures that the indexes exist, which takes one request."""

ADOPTION_SECONDS = 1.0
"""Interval at which a consumer adopts documents of public editions, which takes one request."""


class Mongo(BulkBroker):
    """Broker for MongoDB. A package is a document, and its lease consists of a token and an end."""

    supports_delay = 10 * 365 * 86_400.0
    supports_lock_size = True
    supports_dead_letters = True
    supports_listing = True
    supports_prefetch = True
    priorities = EXACT_PRIORITIES

    _indexed_at = -math.inf
    """Time at which this broker last ensured the indexes (`clock.monotonic`, seconds)."""
    _adopted_at = -math.inf
    """Time at which this broker last adopted documents of public editions (`clock.monotonic`, seconds)."""

    def _begin(self, settings: ClusterSettings | None) -> None:
        super()._begin(settings)
        self._clock = ProcessLocal(lambda: clock_for(key_of(self.settings)))

    def connect(self) -> Client:
        return client_for(self.settings, self)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Client:
        return client_for(current_settings())

    def disconnect(self) -> None:
        """Close the client of this process, and its threads, unless other brokers use it."""
        leave_client(self.settings, self)
        self._connection.forget()

    @property
    def collection(self) -> Collection[dict[str, Any]]:
        """Collection of the queue."""
        return database_of(self.connection, self.settings)[self.list_key]

    # -- sending --------------------------------------------------------------------------------------------------

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> str:
        with converting_errors():
            document = documents.new(as_text(package), self._now(), delay, priority)
            check_sizes([document], self.connection)
            return str(self._queue().insert_one(document).inserted_id)

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[str]:
        if not packages:
            return []
        with converting_errors():
            moment = self._now()
            batch = [documents.new(as_text(package), moment, priority=priority) for package in packages]
            check_sizes(batch, self.connection)
            made = self._queue().insert_many(batch)
        return [str(each) for each in made.inserted_ids]

    # -- fetching -------------------------------------------------------------------------------------------------

    def dequeue_many(self, limit: int, wait: float) -> list[Delivery]:
        """Fetch up to *limit* packages. An empty queue is polled every `poll` seconds."""
        deadline = time.monotonic() + wait
        fair = self.is_fair_fetch()
        while True:
            found = self._take(min(self.wanted(limit), MAX_FETCHED_PACKAGES), fair)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(self.settings.poll, left))

    def _take(self, limit: int, fair: bool) -> list[Delivery]:
        if limit < 1:
            return []
        token = secrets.token_hex(8)
        with converting_errors():
            self._adopt()
            found = self._take_lower(token) if fair else []
            more = limit - len(found)
            found += self._take_few(more, token) if more <= MAX_SINGLE_LEASES else self._take_many(more, token)
        return [Delivery(f"{each['_id']}:{token}", each["payload"], each["leases"]) for each in found]

    def _adopt(self) -> None:
        """Give the documents of public editions a rank, so that they are fetched."""
        now = clock.monotonic()
        if now >= self._adopted_at + ADOPTION_SECONDS:
            self._queue().update_many(documents.NOT_ADOPTED, documents.ADOPTED)
            self._adopted_at = now

    def _take_lower(self, token: str) -> list[dict[str, Any]]:
        """Lease the oldest package of a lower priority than the greatest one, if there is one."""
        queue = self._queue()
        if queue.find_one(documents.WITH_PRIORITY, {"_id": True}) is None:
            return []
        first = queue.find_one(self._offered(documents.ANY_RANK), {"rank": True}, sort=documents.PRIORITY_INDEX)
        lower = first and self._take_one(token, {"$gt": first["rank"]}, documents.DUE_INDEX)
        return [lower] if lower else []

    def _take_few(self, limit: int, token: str) -> list[dict[str, Any]]:
        """Lease packages one by one, so that no other consumer interferes."""
        found: list[dict[str, Any]] = []
        while len(found) < limit and (document := self._take_one(token)) is not None:
            found.append(document)
        return found

    def _take_one(
        self,
        token: str,
        rank: Mapping[str, int] = documents.ANY_RANK,
        order: Sequence[tuple[str, int]] = documents.PRIORITY_INDEX,
    ) -> dict[str, Any] | None:
        return self._queue().find_one_and_update(
            self._offered(rank),
            documents.taken(token, documents.later(self._now(), self.settings.retry)),
            projection={"payload": True, "leases": True},
            return_document=ReturnDocument.AFTER,
            sort=order,
        )

    def _take_many(self, limit: int, token: str) -> list[dict[str, Any]]:
        """Find candidates, lease those that are still available, and read the leased ones."""
        queue, retry = self._queue(), self.settings.retry
        for _again in range(MAX_CANDIDATE_SEARCHES):
            offered = self._offered(documents.ANY_RANK)
            oldest = queue.find(offered, {"_id": True}).sort(documents.PRIORITY_INDEX).limit(limit)
            candidates = [each["_id"] for each in oldest]
            if not candidates:
                break
            mine = {"_id": {"$in": candidates}}
            queue.update_many(mine | offered, documents.taken(token, documents.later(self._now(), retry)))
            leased = queue.find({**mine, "lease": token}, {"payload": True, "leases": True})
            ours = {each["_id"]: each for each in leased}
            if ours:
                return [ours[each] for each in candidates if each in ours]
        return []

    # -- settling -------------------------------------------------------------------------------------------------

    def acknowledge(self, ack_id: str) -> bool:
        with converting_errors():
            return self.collection.delete_one(held([ack_id])).deleted_count == 1

    def acknowledge_many(self, ack_ids: Sequence[str]) -> list[str]:
        with converting_errors():
            kept = self._kept(ack_ids)
            self.collection.delete_many(held(kept))
        return lost(ack_ids, kept)

    def renew(self, ack_ids: Sequence[str]) -> list[str]:
        return self._settle(ack_ids, documents.renewed(documents.later(self._now(), self.settings.retry)))

    def release_many(self, ack_ids: Sequence[str], delay: float = 0) -> list[str]:
        if delay <= 0:
            return self._settle(ack_ids, documents.not_started())
        return self._settle(ack_ids, documents.offered_at(documents.later(self._now(), delay)))

    def expire(self, ack_id: str) -> bool:
        return not self._settle([ack_id], documents.offered_at(documents.EARLIEST_DUE))

    def fail(self, ack_id: str) -> bool:
        """Make a package a dead letter, unless its lease has expired, even if it was not delivered again."""
        with converting_errors():
            leased = held([ack_id]) | {"due": {"$gt": self._now()}}
            return self.collection.update_one(leased, documents.new_at(documents.DEAD_LETTER_DUE)).modified_count == 1

    def _settle(self, ack_ids: Sequence[str], change: dict[str, Any]) -> list[str]:
        """Change leased documents, and return the ack ids of lost leases."""
        with converting_errors():
            kept = self._kept(ack_ids)
            self.collection.update_many(held(kept), change)
        return lost(ack_ids, kept)

    def _kept(self, ack_ids: Sequence[str]) -> list[str]:
        """Return the ack ids whose leases are held."""
        found = self.collection.find(held(ack_ids), {"lease": True})
        leases = {f"{document['_id']}:{document['lease']}" for document in found}
        return [ack_id for ack_id in ack_ids if ack_id in leases]

    # -- dead letters ---------------------------------------------------------------------------------------------

    def dead_size(self) -> int:
        return self._count({"due": documents.DEAD_LETTER_DUE})

    def requeue_dead(self, limit: int | None = None) -> int:
        dead = {"due": documents.DEAD_LETTER_DUE}
        with converting_errors():
            oldest = self.collection.find(dead, {"_id": True}).sort(documents.DUE_INDEX).limit(limit or 0)
            ids = [] if limit == 0 else [each["_id"] for each in oldest]
            change = documents.new_at(self._now())
            return self.collection.update_many({"_id": {"$in": ids}, **dead}, change).modified_count

    def list_dead(self, limit: int) -> list[str]:
        """Return the packages of up to *limit* dead letters, oldest first."""
        if limit <= 0:
            return []
        dead = {"due": documents.DEAD_LETTER_DUE}
        with converting_errors():
            found = self.collection.find(dead, {"payload": True}).sort(documents.DUE_INDEX).limit(limit)
            return [as_text(each["payload"]) for each in found]

    def delete_dead(self, package: str) -> bool:
        """Delete a dead letter with this package. Return False if there is none."""
        dead = {"due": documents.DEAD_LETTER_DUE, "payload": package}
        with converting_errors():
            return bool(self.collection.delete_one(dead).deleted_count)

    # -- the queue ------------------------------------------------------------------------------------------------

    def list_packages(self, state: PackageState, limit: int, offset: int = 0) -> list[ListedPackage]:
        """Return packages of one state, without leasing them."""
        if limit <= 0:
            return []
        order = documents.PRIORITY_INDEX if state is PackageState.WAITING else documents.DUE_INDEX
        is_timed = state in (PackageState.DELAYED, PackageState.LEASED)
        with converting_errors():
            now = self._now()
            wanted = self._of_state(state, now)
            found = self.collection.find(wanted, {"payload": True, "due": True}).sort(order).skip(offset).limit(limit)
            return [
                ListedPackage(as_text(each["payload"]), documents.seconds_until(each["due"], now) if is_timed else 0.0)
                for each in found
            ]

    def _of_state(self, state: PackageState, now: datetime) -> dict[str, Any]:
        """Return the condition of documents of one state."""
        hidden = {"$gt": now, "$lt": documents.DEAD_LETTER_DUE}
        match state:
            case PackageState.WAITING:
                return self._offered()
            case PackageState.DELAYED:
                return {"due": hidden, "lease": None}
            case PackageState.LEASED:
                return {"due": hidden, "lease": {"$ne": None}}
            case PackageState.DEAD:
                return {"due": documents.DEAD_LETTER_DUE}

    def queue_size(self) -> int:
        return self._count(self._offered())

    def lock_size(self) -> int:
        return self._count(self._of_state(PackageState.LEASED, self._now()))

    def _count(self, which: dict[str, Any]) -> int:
        with converting_errors():
            return self.collection.count_documents(which)

    def purge_queue(self) -> None:
        """Delete waiting and delayed packages; leased ones, dead letters and the indexes stay."""
        hidden = {"due": {"$lt": documents.DEAD_LETTER_DUE}, "lease": None}
        with converting_errors():
            self.collection.delete_many({"$or": [*self._offered()["$or"], hidden]})

    def delete_queue(self) -> None:
        self._indexed_at = -math.inf
        with converting_errors():
            self.collection.drop()

    def ping(self) -> bool:
        try:
            self.connection.admin.command("ping")
        except (PyMongoError, ConfigurationError):
            return False
        return True

    def info(self) -> str:
        with converting_errors():
            return f"MongoDB {self.connection.admin.command('buildInfo')['version']}"

    def _offered(self, rank: Mapping[str, int] | None = None) -> dict[str, Any]:
        return documents.offered(self._now(), self.settings.retry, rank)

    def _now(self) -> datetime:
        return self._clock.get().now(self.connection)

    def _queue(self) -> Collection[dict[str, Any]]:
        """Return the collection, and ensure its indexes, which are dropped together with the collection."""
        now = clock.monotonic()
        if now >= self._indexed_at + INDEX_CHECK_SECONDS:
            indexes = (documents.DUE_INDEX, documents.PRIORITY_INDEX)
            self.collection.create_indexes([IndexModel(keys) for keys in indexes])
            self._indexed_at = now
        return self.collection


def held(ack_ids: Iterable[str]) -> dict[str, Any]:
    """Return the condition of leased documents.

    If another one of these leases holds a document again, it meets the condition, too.
    """
    parts = [ack_id.split(":") for ack_id in ack_ids]
    ids, tokens = [ObjectId(part[0]) for part in parts], sorted({part[1] for part in parts})
    return {"_id": {"$in": ids}, "lease": {"$in": tokens}}
