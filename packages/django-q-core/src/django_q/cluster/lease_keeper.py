"""Keeps the leases of what the monitor holds, even while the monitor is blocked by a slow database."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connections, reset_queries

from django_q.exceptions import BrokerError
from django_q.pacing import Backoff

from . import log
from .watchdog import Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.brokers import Broker

MAX_INTERVAL_SECONDS = 1.0
"""Maximum pause between two checks."""


class LeaseKeeper(threading.Thread):
    """A thread of the monitor with a broker of its own.

    The pusher renews a lease until the outcome of its task has reached the monitor. This thread renews it from then on,
    until the package is acknowledged. If the monitor dies, its leases expire, and the packages are redelivered.

    Args:
        name: of the process, for its log.
        broker: makes the broker, in this thread.
        retry: duration of a lease in seconds.
        collect: called at each check; takes outcomes from the channel if the monitor has been blocked for a while.
        renewed: returns when the pusher last renewed the leases (`time.monotonic`, seconds).
        lease_seconds: returns the duration of the lease of an ack id, if that may be shorter than `retry`.
    """

    def __init__(
        self,
        name: str,
        broker: Callable[[], Broker],
        retry: float,
        collect: Callable[[], None],
        renewed: Callable[[], float] = time.monotonic,
        lease_seconds: Callable[[Any], float] | None = None,
    ) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self.process_name, self.make_broker, self.collect, self.renewed = name, broker, collect, renewed
        self.renew_every, self.lease_seconds = retry / 3, lease_seconds
        self.renewing = Wait(retry / 3)
        self.interval = min(MAX_INTERVAL_SECONDS, retry / 6)
        self.lock = threading.Lock()
        self.due: dict[Any, float] = {}
        """When the lease of each ack id is to be renewed next (`time.monotonic`, seconds)."""
        self.ended = threading.Event()
        self.backoff = Backoff()
        """Counts failed renewals; the interval is short enough not to grow."""

    def hold(self, ack_id: Any) -> None:
        """Renew a lease from now on."""
        if ack_id is not None:
            with self.lock:
                # Not from now on: the pusher may have failed to renew it, and less of the lease is left.
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
        while not self.ended.wait(self.interval):
            try:
                self.collect()
                if due := self._due():
                    if broker is None:
                        broker = self.make_broker()
                        self.renewing.aliases = {broker.alias} if broker.alias is not None else set()
                    self.renew(broker, due)
                    if self.backoff.succeeded():
                        log.leases_renewed_again(self.process_name)
            except BrokerError as error:
                if self.backoff.failed():
                    log.leases_not_renewed(self.process_name, error)
            except Exception as error:  # noqa: BLE001 - the edge of a thread
                log.crashed(f"{self.process_name} (leases)", error)
            if settings.DEBUG:
                reset_queries()
        connections.close_all()

    def renew(self, broker: Broker, due: list[Any]) -> None:
        """Renew leases; those that are lost are another holder's now."""
        began = time.monotonic()
        with self.renewing.limited():
            lost = set(broker.renew(due))
        with self.lock:
            for ack_id in due:
                if ack_id in lost:
                    self.due.pop(ack_id, None)
                elif ack_id in self.due:
                    self.due[ack_id] = began + self._interval(ack_id)

    def _interval(self, ack_id: Any) -> float:
        """Return the time between two renewals in seconds, and check as often as a short lease needs it."""
        if self.lease_seconds is None:
            return self.renew_every
        seconds = self.lease_seconds(ack_id)
        self.interval = min(self.interval, seconds / 6)
        return seconds / 3

    def _due(self) -> list[Any]:
        now = time.monotonic()
        with self.lock:
            return [ack_id for ack_id, moment in self.due.items() if moment <= now]
