"""Due schedules → tasks; and it publishes what the cluster is doing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from django.utils import timezone

from django_q.brokers import get_broker
from django_q.exceptions import BrokerUnavailable

from . import log
from .backoff import Backoff
from .process import ClusterProcess, Wiring
from .state import Phase
from .statistics import stat_of

if TYPE_CHECKING:
    from datetime import datetime

PUBLISH_EVERY = 1.0
"""Seconds between two statistics; they are forgotten after three."""


class Scheduler(ClusterProcess):
    """Publishes the cluster's `Stat`."""

    role: ClassVar[str] = "scheduler"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__(wiring)
        self.tob: datetime = timezone.now()
        self.backoff = Backoff()

    def start(self) -> None:
        self.broker = get_broker(settings=self.settings)
        log.scheduling(self.name)

    def step(self) -> bool:
        if self.state.phase >= Phase.STOPPING:
            return False
        began = time.monotonic()
        self._publish()
        self.wiring.alarm.wait(max(0.0, began + PUBLISH_EVERY + self.backoff.seconds - time.monotonic()))
        return True

    def stop(self) -> None:
        self._publish()
        log.stopped_scheduling(self.name)

    def _publish(self) -> None:
        stat = stat_of(self.state, self.wiring.cluster_id, self.settings)
        try:
            stat.save(self.broker)
        except BrokerUnavailable as error:
            if self.backoff.failed():
                log.no_statistics(self.name, error)
        else:
            self.backoff.succeeded()
