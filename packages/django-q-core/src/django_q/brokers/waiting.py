"""Looks at the next packages of a queue: for how long they have waited, and their priorities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from django_q.brokers.listing import PackageState
from django_q.brokers.packages import ReadPackage
from django_q.clock import now
from django_q.wire.codec import PackageCodec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from django_q.brokers.base import Broker

NEXT_PACKAGES: Final = 10
"""Number of waiting packages that are read. Without priorities, the first one is the oldest."""


class NextPackages(NamedTuple):
    """Summary of the readable ones of the next packages of a queue."""

    seconds: float
    """Seconds for which the oldest of them has waited."""
    lowest: int
    """Smallest priority."""
    highest: int
    """Greatest priority."""


def next_wait(broker: Broker) -> float | None:
    """Return the seconds for which the next packages of a queue have waited, that of the oldest of them.

    A package waits since it was sent, a delayed one since its earliest execution. Packages of retries do, too.

    Args:
        broker: broker of the queue.

    Returns:
        0 if none waits, or if none of them is readable; None if the broker cannot list packages.

    Raises:
        BrokerUnavailable: try again later.
    """
    if not broker.supports_listing:
        return None
    found = next_packages(broker)
    return 0.0 if found is None else found.seconds


def next_packages(broker: Broker) -> NextPackages | None:
    """Return a summary of the next packages of a queue; None if none waits, or if none of them is readable.

    Args:
        broker: broker of the queue, which lists packages.

    Raises:
        BrokerUnavailable: try again later.
    """
    codec = PackageCodec.of(broker.settings)
    listed = broker.list_packages(PackageState.WAITING, NEXT_PACKAGES)
    known = [read.metadata for each in listed if not (read := ReadPackage.of(each.package, codec)).reason]
    if not known:
        return None
    priorities = [metadata.get("priority", 0) for metadata in known]
    return NextPackages(max(map(seconds_waited, known)), min(priorities), max(priorities))


def seconds_waited(metadata: Mapping[str, Any]) -> float:
    """Return the seconds since a task was sent, or since its earliest execution.

    Args:
        metadata: values of its package, as `peek` returns them.
    """
    since: datetime = max(metadata["started"], metadata.get("run_after") or metadata["started"])
    return max((now() - since).total_seconds(), 0.0)
