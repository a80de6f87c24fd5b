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

ZONE_STEP = timedelta(minutes=15)
"""Offsets of time zones are multiples of it."""

INDEX = [("due", 1), ("_id", 1)]
"""What finds the oldest package that is due."""


def now() -> datetime:
    """Return this moment by the clock of this machine."""
    return datetime.now(UTC)


def later(moment: datetime, seconds: float) -> datetime:
    """Return the moment so many seconds after another, and not later than MongoDB can tell."""
    try:
        return min(moment + timedelta(seconds=seconds), NEVER - timedelta(days=1))
    except OverflowError:
        return NEVER - timedelta(days=1)


def new(package: str, moment: datetime, delay: float) -> dict[str, Any]:
    """Return the document of a package that is sent at a moment and offered *delay* seconds after it."""
    if delay <= 0:
        return {"payload": package, "due": moment, "lock": EARLIEST}
    due = later(moment, delay)
    return {"payload": package, "due": due, "lock": due}


def as_of_old(moment: datetime) -> datetime:
    """Return a moment as public editions write it: local time, taken for UTC, where `USE_TZ` is False."""
    local = timezone.now()
    if timezone.is_aware(local):
        return moment
    return moment + ZONE_STEP * round((local.replace(tzinfo=UTC) - now()) / ZONE_STEP)


def offered(moment: datetime, retry: float) -> dict[str, Any]:
    """Return the condition of documents that may be taken at a moment.

    Args:
        moment: the present.
        retry: what a sender or cluster of old meant by its lock, in seconds.
    """
    local = as_of_old(moment)
    age = timedelta(seconds=min(retry, 10**9))
    ours = {"due": {"$lte": moment}, "$expr": {"$lte": ["$lock", "$due"]}}
    theirs = {"due": {"$lte": moment}, "lock": {"$lte": moment - age}}
    lapsed = {"due": None, "lock": {"$lte": local - age}}
    from_further_east = {"due": None, "lock": {"$gt": local + timedelta(seconds=MAX_SKEW_SECONDS)}}
    return {"$or": [ours, theirs, lapsed, from_further_east]}


def taken(token: str, due: datetime) -> dict[str, Any]:
    """Return the change that leases a document until a moment."""
    return {"$set": {"due": due, "lock": due, "lease": token}, "$inc": {"leases": 1}}


def renewed(due: datetime) -> dict[str, Any]:
    """Return the change that prolongs a lease until a moment."""
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
