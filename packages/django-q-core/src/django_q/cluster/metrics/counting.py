"""Objects of the processes that count. They replace the ordinary ones only if a cluster has metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_q.cluster.ipc.state import Slot
from django_q.finishing import Finisher

if TYPE_CHECKING:
    from django_q.brokers import Broker
    from django_q.cluster.metrics.tallies import Counter, Tallies
    from django_q.finishing import Report
    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome


class CountingSlot(Slot):
    """Slot that counts the attempts which its worker begins.

    Args:
        slot: the ordinary slot.
        started: the counter of the worker.
    """

    def __init__(self, slot: Slot, started: Counter) -> None:
        vars(self).update(vars(slot))
        self.started = started

    def begin(self, message: bytes, now: float, number: int = 0) -> None:
        """Store the message in flight, mark the worker busy, and count a task."""
        super().begin(message, now, number)
        if number:
            self.started.add()


class CountingFinisher(Finisher):
    """Finisher that counts the outcomes of executed attempts."""

    def __init__(self, settings: ClusterSettings, broker: Broker, tallies: Tallies, report: Report) -> None:
        super().__init__(settings, broker, report)
        self.tallies = tallies

    def announce(self, outcome: Outcome) -> None:
        """Log and count an outcome."""
        super().announce(outcome)
        if outcome.repeated:
            return  # it was counted before
        kind = "success" if outcome.success else "cancelled" if outcome.cancelled else "failure"
        self.tallies.finished(outcome.func, kind, outcome.duration, outcome.waited)
