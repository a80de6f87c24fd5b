"""What a package is in MongoDB: one document of the queue's collection.

    payload   the signed package
    due       when it is offered: its lease or its delay ends then; `NEVER` for a dead letter
    lease     the token of the delivery that holds it, or held it last
    leases    how many of its leases count as attempts: all but those released before the start; absent means 0
    lock      for clusters of the public editions, which offer what was locked `retry` seconds ago

Senders of the public editions write `payload` and `lock` only. A cluster of theirs that takes one of our documents
sets `lock` later than `due`: it is left to that cluster for `retry` seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Due before everything else."""

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Never due."""

MAX_SKEW_SECONDS = 300
"""A lock of a public edition that lies further ahead was written in another time zone, and is none."""

INDEX = [("due", 1), ("_id", 1)]
"""What finds the oldest package that is due."""


def now() -> datetime:
    """This moment, as MongoDB keeps times."""
    return datetime.now(UTC)


def later(seconds: float) -> datetime:
    """So many seconds from now, and not later than MongoDB can tell."""
    try:
        return min(now() + timedelta(seconds=seconds), NEVER - timedelta(days=1))
    except OverflowError:
        return NEVER - timedelta(days=1)


def new(package: str, delay: float) -> dict[str, Any]:
    """The document of a package that is offered in *delay* seconds."""
    if delay <= 0:
        return {"payload": package, "due": now(), "lock": EARLIEST}
    due = later(delay)
    return {"payload": package, "due": due, "lock": due}


def now_of_old() -> datetime:
    """Return this moment as public editions write it: local time, taken for UTC, where `USE_TZ` is False."""
    return timezone.now().replace(tzinfo=UTC)


def offered(retry: float) -> dict[str, Any]:
    """The documents that may be taken; *retry* seconds is what a sender or cluster of old meant by its lock."""
    moment, local = now(), now_of_old()
    age = timedelta(seconds=min(retry, 10**9))
    ours = {"due": {"$lte": moment}, "$expr": {"$lte": ["$lock", "$due"]}}
    theirs = {"due": {"$lte": moment}, "lock": {"$lte": moment - age}}
    lapsed = {"due": None, "lock": {"$lte": local - age}}
    from_further_east = {"due": None, "lock": {"$gt": local + timedelta(seconds=MAX_SKEW_SECONDS)}}
    return {"$or": [ours, theirs, lapsed, from_further_east]}


def taken(token: str, retry: float) -> dict[str, Any]:
    """The change that leases a document for *retry* seconds."""
    due = later(retry)
    return {"$set": {"due": due, "lock": due, "lease": token}, "$inc": {"leases": 1}}


def renewed(retry: float) -> dict[str, Any]:
    """The change that begins a lease of *retry* seconds again."""
    due = later(retry)
    return {"$set": {"due": due, "lock": due}}


def not_started() -> dict[str, Any]:
    """The change that ends a lease, does not count it, and offers the document before all others."""
    return offered_at(EARLIEST) | {"$inc": {"leases": -1}}


def offered_at(due: datetime) -> dict[str, Any]:
    """The change that ends a lease, counts it as an attempt, and offers the document at that time."""
    return {"$set": {"due": due, "lock": due}, "$unset": {"lease": ""}}


def new_at(due: datetime) -> dict[str, Any]:
    """The change that ends a lease, deletes the number of attempts, and offers the document at that time."""
    return {"$set": {"due": due, "lock": due}, "$unset": {"lease": "", "leases": ""}}
