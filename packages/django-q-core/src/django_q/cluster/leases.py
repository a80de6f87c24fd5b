"""Leases of started and prefetched tasks, which the pusher renews, and the interval of renewals.

When the outcome of a task has arrived, the monitor renews the lease instead of the pusher: see `lease_keeper.py`.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Self

from django_q.cluster.ipc.state import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django_q.brokers import AckId, Broker
    from django_q.cluster.ipc.state import ClusterState


class RenewalInterval:
    """Time between two renewals of a lease: a third of its duration, so that it survives two failed renewals.

    Args:
        retry: duration of most leases in seconds.
        lease_seconds: returns the duration of the lease of an ack id in seconds; None if no lease is shorter than
            `retry`.
    """

    def __init__(self, retry: float, lease_seconds: Callable[[AckId], float] | None = None) -> None:
        self.lease_seconds = lease_seconds
        self.seconds = retry / 3
        """Interval for a lease of `retry` seconds."""

    @classmethod
    def of(cls, broker: Broker, retry: float) -> Self:
        """Return the interval for the leases of a broker."""
        return cls(retry, broker.lease_seconds if broker.leases_vary else None)

    def shortest(self, ack_ids: Iterable[AckId]) -> float:
        """Return the interval in seconds for the shortest of several leases."""
        if self.lease_seconds is None:
            return self.seconds
        return min((self.lease_seconds(ack_id) / 3 for ack_id in ack_ids), default=self.seconds)


class TaskLeases:
    """Leases of the tasks that the pusher has sent to the workers, until their outcomes have reached the monitor.

    Args:
        broker: renews the leases.
        state: of the cluster; tells which tasks are in flight.
        retry: duration of most leases in seconds.
    """

    def __init__(self, broker: Broker, state: ClusterState, retry: float) -> None:
        self.broker, self.state = broker, state
        self.interval = RenewalInterval.of(broker, retry)
        self.held: dict[int, AckId] = {}
        """Ack ids by task number."""
        self.renew_at = 0.0
        """Time of the next renewal (`time.monotonic`, seconds)."""
        self._missing: set[int] = set()

    @property
    def is_late(self) -> bool:
        """True if the broker took so long to renew the leases that they are due again."""
        return bool(self.held) and time.monotonic() >= self.renew_at

    @property
    def seconds(self) -> float:
        """Interval of renewals in seconds: that of the shortest lease."""
        return self.interval.shortest(self.held.values())

    def renew(self) -> set[int]:
        """Renew all leases, and forget those that were lost. After a failure, they are due as before.

        Returns:
            The numbers of the tasks whose lease was lost.

        Raises:
            BrokerUnavailable: no lease was renewed, or only some.
        """
        now = time.monotonic()
        lost = set(self.broker.renew(list(self.held.values()))) if self.held else ()
        self.renew_at = now + self.seconds
        numbers = {number for number, ack_id in self.held.items() if ack_id in lost} if lost else set[int]()
        for number in numbers:
            del self.held[number]
        return numbers

    def began(self, now: float) -> None:
        """Renew earlier if a lease that began at *now* (`time.monotonic`, seconds) may be shorter than the others."""
        if self.interval.lease_seconds is not None and self.held:
            self.renew_at = min(self.renew_at, now + self.seconds)

    def forget_passed(self) -> None:
        """Stop renewing tasks that are older than the current task of every worker."""
        passed = min(slot.taken for slot in self.state.slots)
        for number in list(itertools.takewhile(passed.__gt__, self.held)):
            del self.held[number]

    def forget_finished(self) -> None:
        """Stop renewing leases of finished tasks.

        A task that neither waits nor is in flight has been finished: its outcome is with the monitor. A worker needs a
        moment between the receipt of a task and its record in the slot, so a task must be missing twice.
        """
        taken = max(self.state.taken, self.state.withdrawn)
        working = (WorkerState.BUSY, WorkerState.SENDING)
        in_flight = {slot.taken for slot in self.state.slots if slot.state in working}
        missing = {number for number in self.held if number <= taken and number not in in_flight}
        for number in missing & self._missing:
            del self.held[number]
        self._missing = missing
