"""Renews the leases of unsaved outcomes, even while a slow database blocks the monitor."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connections, reset_queries

from django_q.exceptions import BrokerError
from django_q.log import messages as log
from django_q.pacing import Backoff

from .watchdog import Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.brokers import Broker

    from .leases import RenewalInterval

MAX_PAUSE_SECONDS = 1.0
"""Maximum pause between two checks."""


class LeaseKeeper(threading.Thread):
    """Thread of the monitor, with its own broker.

    The pusher renews a lease until the monitor has received the outcome of its task. Then this thread renews it until
    the package is acknowledged. If the monitor dies, its leases expire, and the packages are redelivered.

    Args:
        name: name of the process, for the log.
        broker: creates the broker, in this thread.
        interval: of renewals.
        collect: called at each check; takes outcomes from the channel if the monitor is blocked.
        renewed: returns the time of the pusher's last renewal (`time.monotonic`, seconds).
        lost: called with the number of leases that were lost; None if nothing counts them.
    """

    def __init__(
        self,
        name: str,
        broker: Callable[[], Broker],
        interval: RenewalInterval,
        collect: Callable[[], None],
        renewed: Callable[[], float] = time.monotonic,
        lost: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self.process_name, self.make_broker, self.collect, self.renewed = name, broker, collect, renewed
        self.interval, self.lost = interval, lost
        self.renewing = Wait(interval.seconds)
        self.pause = min(MAX_PAUSE_SECONDS, interval.seconds / 2)
        """Pause between two checks in seconds. It becomes shorter with the first short lease."""
        self.lock = threading.Lock()
        self.due: dict[Any, float] = {}
        """Time of the next renewal by ack id (`time.monotonic`, seconds)."""
        self.ended = threading.Event()
        self.backoff = Backoff()
        """Counts failed renewals. The pause between two checks does not grow."""

    def hold(self, ack_id: Any) -> None:
        """Start renewing a lease."""
        if ack_id is not None:
            with self.lock:
                # From the last renewal: the pusher may have failed to renew the lease since.
                self.due.setdefault(ack_id, self.renewed() + self._interval(ack_id))

    def drop(self, ack_ids: list[Any]) -> None:
        """Stop renewing leases."""
        with self.lock:
            for ack_id in ack_ids:
                self.due.pop(ack_id, None)

    def stop(self) -> None:
        """End the thread."""
        self.ended.set()

    def run(self) -> None:
        """Check until the monitor ends."""
        broker: Broker | None = None
        while not self.ended.wait(self.pause):
            try:
                self.collect()
                if due := self._due():
                    if broker is None:
                        broker = self.make_broker()
                        self.renewing.aliases = {broker.alias} if broker.alias is not None else set()
                    self.renew(broker, due)
                    if self.backoff.succeeded():
                        log.lease.renewed(self.process_name)
            except BrokerError as error:
                if self.backoff.failed():
                    log.lease.not_renewed(self.process_name, error)
            except Exception as error:  # noqa: BLE001 - edge of a thread
                log.process.crashed(f"{self.process_name} (leases)", error)
            if settings.DEBUG:
                reset_queries()
        connections.close_all()

    def renew(self, broker: Broker, due: list[Any]) -> None:
        """Renew leases, and forget those that are lost: their packages have another holder."""
        began = time.monotonic()
        with self.renewing.limited():
            lost = set(broker.renew(due))
        with self.lock:
            if self.lost is not None:
                self.lost(sum(ack_id in lost for ack_id in due if ack_id in self.due))
            for ack_id in due:
                if ack_id in lost:
                    self.due.pop(ack_id, None)
                elif ack_id in self.due:
                    self.due[ack_id] = began + self._interval(ack_id)

    def _interval(self, ack_id: Any) -> float:
        """Return the time between two renewals in seconds; shorten the pause between checks for short leases."""
        seconds = self.interval.shortest((ack_id,))
        if seconds < self.interval.seconds:
            self.pause = min(self.pause, seconds / 2)
        return seconds

    def _due(self) -> list[Any]:
        now = time.monotonic()
        with self.lock:
            return [ack_id for ack_id, moment in self.due.items() if moment <= now]
