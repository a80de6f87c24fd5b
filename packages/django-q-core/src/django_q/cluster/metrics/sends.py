"""Counts the tasks that a process of the cluster sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q import signals

if TYPE_CHECKING:
    from django_q.cluster.metrics.tallies import Tallies


def count_sends(tallies: Tallies, role: str, index: int | None = None) -> None:
    """Count the tasks that this process sends.

    Args:
        tallies: counts of the cluster.
        role: role of this process.
        index: index of a worker; None for other roles.
    """
    counter = tallies.sent.get(role if index is None else f"{role} {index}")
    if counter is None:
        return

    def count(**_: Any) -> None:
        counter.add()

    signals.pre_enqueue.connect(count, weak=False, dispatch_uid="django_q.metrics")
