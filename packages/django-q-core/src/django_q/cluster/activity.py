"""Writes the activity of a cluster, from which the admin draws charts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from django.db import router

from django_q.cluster.ipc.activity import Numbers
from django_q.databases.statements import Condition, delete, execute
from django_q.models import Activity

if TYPE_CHECKING:
    from django_q.cluster.ipc.state import ClusterState
    from django_q.wire.outcome import Outcome

INTERVAL_SECONDS: Final = 10
"""Minimum time between two writes. It divides a minute, so that no interval belongs to two minutes."""

KEPT_MINUTES: Final = 24 * 60
"""Age at which a row is deleted."""

PRUNING_INTERVAL_MINUTES: Final = 60
"""Minimum time between two deletions."""

MINUTE_SECONDS: Final = 60

UPDATE: Final = (
    "UPDATE {table} SET {successes} = {successes} + %s, {failures} = {failures} + %s, {waits} = {waits} + %s, "
    "{wait_seconds} = {wait_seconds} + %s WHERE {minute} = %s AND {cluster_id} = %s"
)
INSERT: Final = (
    "INSERT INTO {table} ({successes}, {failures}, {waits}, {wait_seconds}, {minute}, {cluster_id}) "
    "VALUES (%s, %s, %s, %s, %s, %s)"
)


def numbers_of(outcome: Outcome) -> Numbers:
    """Return the numbers of one attempt. One that was cancelled, or counted before, has none."""
    if outcome.repeated or outcome.cancelled:
        return Numbers()
    waited = outcome.waited
    return Numbers(int(outcome.success), int(not outcome.success), int(waited is not None), waited or 0.0)


def present_interval() -> int:
    """Return the number of the present interval since the epoch."""
    return int(time.time()) // INTERVAL_SECONDS


class ActivityWriter:
    """Writes numbers that the monitor counts in shared memory. Without new ones, it executes no statement.

    One process of a cluster writes at a time. What is not written yet survives it in shared memory.

    Args:
        state: the shared memory.
        cluster_id: id of the cluster, with or without hyphens.
    """

    def __init__(self, state: ClusterState, cluster_id: str) -> None:
        self.state = state
        self.cluster_id = cluster_id.replace("-", "")
        self.using: str = router.db_for_write(Activity)
        self.interval = present_interval()
        """Number of the interval in which numbers were written last."""
        self.prune_at = 0
        """Minute of the next deletion."""

    def step(self) -> None:
        """Write the numbers of the interval that has ended, if one has.

        Raises:
            django.db.DatabaseError: try again later. The numbers are kept.
        """
        interval = present_interval()
        if interval != self.interval:
            self.write(interval * INTERVAL_SECONDS - 1)
            self.interval = interval

    def finish(self) -> None:
        """Write the rest, after the last step.

        Raises:
            django.db.DatabaseError: as `step`.
        """
        self.write(int(time.time()))

    def write(self, seconds: int) -> None:
        """Write all numbers that are not written yet.

        Args:
            seconds: time to which they belong, since the epoch.

        Raises:
            django.db.DatabaseError: as `step`.
        """
        numbers = self.state.activity.numbers.minus(self.state.written_activity.numbers)
        if not numbers.successes and not numbers.failures:
            return  # the seconds may differ by an error of rounding
        minute = seconds // MINUTE_SECONDS
        values = [*numbers, minute, self.cluster_id]
        if not execute(Activity, self.using, UPDATE, values):
            execute(Activity, self.using, INSERT, values)
        self.state.written_activity.add(numbers)
        self.prune(minute)

    def prune(self, minute: int) -> None:
        """Delete rows that are older than a day, if that is due.

        Args:
            minute: the present minute.
        """
        if abs(minute - self.prune_at) < PRUNING_INTERVAL_MINUTES:
            return
        self.prune_at = minute
        delete(Activity, self.using, Condition("{minute} < %s", [minute - KEPT_MINUTES]))
