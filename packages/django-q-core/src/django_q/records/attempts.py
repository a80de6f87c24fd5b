"""Attempts of a record, as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

LOST_CLASS: Final = "django_q.exceptions.WorkerDied"
"""Exception class of an attempt that ended without an outcome."""

LOST_REASON: Final = "The attempt ended without an outcome: its worker or its cluster was killed, or lost the lease."
"""Text in place of its traceback."""


def entry(number: int, worker: str | None, started: datetime | None) -> dict[str, Any]:
    """Return an attempt that has started.

    Args:
        number: number of the attempt, from 1.
        worker: name of the worker; None if no worker has started it.
        started: its start; None if it is not known.
    """
    return {
        "number": number,
        "worker": worker,
        "started_at": started and started.isoformat(),
        "finished_at": None,
        "duration": None,
        "exception_class": None,
        "traceback": None,
    }


def ended(
    attempt: dict[str, Any],
    finished: datetime,
    *,
    duration: float | None = None,
    exception_class: str | None = None,
    traceback: str | None = None,
) -> dict[str, Any]:
    """Return an attempt that has ended.

    Args:
        attempt: the attempt that has started.
        finished: its end.
        duration: in seconds; None if nothing was executed.
        exception_class: dotted path of the class of the exception; None for a success.
        traceback: text of the traceback, or the reason of the failure; None for a success.
    """
    return attempt | {
        "finished_at": finished.isoformat(),
        "duration": duration,
        "exception_class": exception_class,
        "traceback": traceback,
    }


def lost(attempt: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return an attempt that ended without an outcome; one that has ended stays unchanged."""
    if attempt["finished_at"] is not None:
        return attempt
    return ended(attempt, now, exception_class=LOST_CLASS, traceback=LOST_REASON)


def found(attempts: Sequence[dict[str, Any]], number: int) -> dict[str, Any] | None:
    """Return the attempt with a number, or None."""
    return next((each for each in attempts if each["number"] == number), None)


def merged(attempts: Sequence[dict[str, Any]], attempt: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Return the attempts with *attempt* added, or in place of the one with its number.

    Earlier attempts without an outcome are lost: each attempt begins after the one before has ended.
    """
    earlier = [lost(each, now) for each in attempts if each["number"] < attempt["number"]]
    later = [each for each in attempts if each["number"] > attempt["number"]]
    return [*earlier, attempt, *later]
