"""Rows of queues for the page of clusters, with the age and the priorities of the packages that come next."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import gettext as _

from django_q.brokers import broker_of
from django_q.brokers.waiting import NextPackages, next_packages
from django_q.terminal.views import clock

if TYPE_CHECKING:
    from django_q.terminal.snapshot import Problems, QueueRow, Snapshot

NO_VALUE = "-"
"""Text of a value that does not exist or is unknown."""


class ShownQueue(NamedTuple):
    """A queue, with values as texts."""

    row: QueueRow
    consumers: int
    """Number of its clusters."""
    oldest: str
    """Time for which the oldest of the next packages has waited."""
    priority: str
    """Priority of the next packages, or their range."""


def queues_of(snapshot: Snapshot, problems: Problems) -> list[ShownQueue]:
    """Return the queues of a snapshot. A part that cannot be read is a dash, and becomes a problem."""
    consumers = [row.queue for row in snapshot.clusters]
    shown = []
    for row in snapshot.queues:
        found = problems.reading(partial(next_of, row.name), None)
        oldest = NO_VALUE if found is None else clock(found.seconds)
        shown.append(ShownQueue(row, consumers.count(row.name), oldest, priority_of(found)))
    return shown


def next_of(name: str) -> NextPackages | None:
    """Return the summary of the next packages of a queue; None if its broker cannot list packages.

    Raises:
        BrokerUnavailable: the broker cannot answer now.
    """
    broker = broker_of(name)
    return next_packages(broker) if broker.supports_listing else None


def priority_of(found: NextPackages | None) -> str:
    """Return the priority of packages, or the range of their priorities."""
    if found is None:
        return NO_VALUE
    if found.lowest == found.highest:
        return str(found.lowest)
    return _("%(lowest)d to %(highest)d") % {"lowest": found.lowest, "highest": found.highest}
