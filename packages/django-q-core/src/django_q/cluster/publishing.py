"""What the cluster is doing → the broker, for those who ask for its `Stat`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from django_q.exceptions import BrokerError

from . import log
from .backoff import Backoff
from .statistics import stat_of

if TYPE_CHECKING:
    from django_q.brokers import Broker

    from .process import Wiring

PUBLISH_EVERY: Final = 1.0
"""Seconds between two statistics of a cluster that works."""

PUBLISH_AGAIN: Final = 2.0
"""Seconds between two statistics that say the same; they are forgotten after five."""

NEVER: Final = float("inf")


class Publisher:
    """Publishes the cluster's statistics in one of two processes.

    Where the broker keeps them beside its packages, the pusher does: it can do nothing without that server anyway, and
    has a connection. What is kept elsewhere, in a cache, may hang while packages can be fetched and leases must be
    renewed: then it is the scheduler.

    Args:
        name: of the process.
        wiring: of the process.
        broker: where they go.
        here: whether it is this process that publishes.
    """

    def __init__(self, name: str, wiring: Wiring, broker: Broker, *, here: bool) -> None:
        self.name, self.wiring, self.broker, self.here = name, wiring, broker, here
        self.due = 0.0 if here else NEVER
        """When to step next (`time.monotonic`, seconds)."""
        self.published: dict[str, Any] = {}
        self.again_at = 0.0
        self.backoff = Backoff()

    def step(self) -> None:
        """Publish when it is time."""
        if time.monotonic() >= self.due:
            self.publish()
            self.due = time.monotonic() + PUBLISH_EVERY + self.backoff.seconds

    def publish(self) -> None:
        """Publish now, unless the same was said a moment ago."""
        if not self.here:
            return
        stat = stat_of(self.wiring.state, self.wiring.cluster_id, self.wiring.settings)
        said = {name: value for name, value in vars(stat).items() if name != "timestamp"}
        now = time.monotonic()
        if said == self.published and now < self.again_at:
            return
        try:
            stat.save(self.broker)
        except BrokerError as error:
            if self.backoff.failed():
                log.no_statistics(self.name, error)
        else:
            self.backoff.succeeded()
            self.published, self.again_at = said, now + PUBLISH_AGAIN - PUBLISH_EVERY / 2
