"""Builds documents of MongoDB, of which each contains one package, and their changes.

    payload   the signed package
    due       end of its lease or delay, from which it can be fetched; `DEAD_LETTER_DUE` for a dead letter
    lease     token of the delivery that holds it, or held it last
    leases    number of leases that count as attempts: all but those released before the start; missing for 0
    rank      negative priority: documents are fetched in ascending order of it
    lock      for clusters of the public editions, which fetch a package that was locked `retry` seconds ago

Senders of the public editions write `payload` and `lock` only. Such documents have priority 0, as soon as this broker
has adopted them. If a cluster of theirs fetches a document of this broker, it sets `lock` later than `due`. For `retry`
seconds, this broker does not fetch the document.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Mapping

EARLIEST_DUE = datetime(1970, 1, 1, tzinfo=UTC)
"""Value of `due` with which a package is delivered before all others."""

DEAD_LETTER_DUE = datetime(9999, 1, 1, tzinfo=UTC)
"""Value of `due` of a dead letter."""

MAX_SKEW_SECONDS = 300
"""Maximum time by which a lock of a public edition may lie in the future. A later one was written in another time zone,
and is ignored."""

ZONE_STEP = timedelta(minutes=15)
"""Common divisor of the offsets of time zones."""

DUE_INDEX = [("due", 1), ("_id", 1)]
"""Index that finds the oldest package that is due."""

PRIORITY_INDEX = [("rank", 1), *DUE_INDEX]
"""Index that finds the oldest package of the greatest priority. A condition of `rank` makes the server skip the delayed
packages of each priority."""

ANY_RANK = {"$gte": -100}
"""Condition of the rank of all documents, except of those that are not adopted."""

NOT_ADOPTED = {"rank": None}
"""Condition of documents that a public edition inserted, and no fetch has seen."""

ADOPTED = {"$set": {"rank": 0}}
"""Change that gives documents priority 0. Otherwise, they would be sorted before all priorities."""

WITH_PRIORITY = {"$or": [{"rank": {"$lt": 0}}, {"rank": {"$gt": 0}}]}
"""Condition of documents with another priority than 0."""


def now() -> datetime:
    """Return the present by the clock of this machine."""
    return datetime.now(UTC)


def later(moment: datetime, seconds: float) -> datetime:
    """Return the time a number of seconds after another one, at most the last one of MongoDB."""
    try:
        return min(moment + timedelta(seconds=seconds), DEAD_LETTER_DUE - timedelta(days=1))
    except OverflowError:
        return DEAD_LETTER_DUE - timedelta(days=1)


def seconds_until(moment: datetime, now: datetime) -> float:
    """Return the seconds until a time, at least 0. The client may return times without a zone, which are in UTC."""
    return max((moment.replace(tzinfo=UTC) - now.replace(tzinfo=UTC)).total_seconds(), 0.0)


def new(package: str, moment: datetime, delay: float = 0, priority: int = 0) -> dict[str, Any]:
    """Return the document of a new package.

    Args:
        package: the signed package.
        moment: the present.
        delay: seconds after which it can be fetched.
        priority: from -100 to 100.
    """
    due = later(moment, delay) if delay > 0 else moment
    return {"payload": package, "due": due, "lock": due if delay > 0 else EARLIEST_DUE, "rank": -priority}


def as_of_old(moment: datetime) -> datetime:
    """Return a time in the form of the public editions: local time marked as UTC if `USE_TZ` is False."""
    local = timezone.now()
    if timezone.is_aware(local):
        return moment
    return moment + ZONE_STEP * round((local.replace(tzinfo=UTC) - now()) / ZONE_STEP)


def offered(moment: datetime, retry: float, rank: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return the condition of documents that can be fetched.

    Args:
        moment: the present.
        retry: duration in seconds of a lock of the public editions.
        rank: condition of the rank; None for all documents.
    """
    local = as_of_old(moment)
    age = timedelta(seconds=min(retry, 10**9))
    ours = {"due": {"$lte": moment}, "$expr": {"$lte": ["$lock", "$due"]}}
    theirs = {"due": {"$lte": moment}, "lock": {"$lte": moment - age}}
    lapsed = {"due": None, "lock": {"$lte": local - age}}
    from_further_east = {"due": None, "lock": {"$gt": local + timedelta(seconds=MAX_SKEW_SECONDS)}}
    either = [ours, theirs, lapsed, from_further_east]
    return {"$or": either if rank is None else [{"rank": rank, **each} for each in either]}


def taken(token: str, due: datetime) -> dict[str, Any]:
    """Return the change that leases a document.

    Args:
        token: token of the delivery.
        due: end of the lease.
    """
    return {"$set": {"due": due, "lock": due, "lease": token}, "$inc": {"leases": 1}}


def renewed(due: datetime) -> dict[str, Any]:
    """Return the change that extends a lease until a time."""
    return {"$set": {"due": due, "lock": due}}


def not_started() -> dict[str, Any]:
    """Return the change that releases a document before all others, without counting the lease as an attempt."""
    return offered_at(EARLIEST_DUE) | {"$inc": {"leases": -1}}


def offered_at(due: datetime) -> dict[str, Any]:
    """Return the change that releases a document at a time, and counts the lease as an attempt."""
    return {"$set": {"due": due, "lock": due}, "$unset": {"lease": ""}}


def new_at(due: datetime) -> dict[str, Any]:
    """Return the change that releases a document at a time, and deletes its number of attempts."""
    return {"$set": {"due": due, "lock": due}, "$unset": {"lease": "", "leases": ""}}
