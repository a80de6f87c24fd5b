"""The names of the old module `django_q.cluster` that its package does not have."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django_q.brokers import get_broker
from django_q.cluster.system.affinity import available_cpus, cpu_windows
from django_q.settings import current_settings

from .cluster import Cluster
from .pool import context_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from multiprocessing.context import BaseContext

    from django_q.brokers import Broker

STOP_POLL_SECONDS = 0.05
"""Interval of the checks if the event is set, which need not have a file descriptor."""


class Sentinel:
    """Cluster that runs until an event is set. The constructor returns after its end, unless *start* is False.

    The real sentinel is a process of a `Cluster`, which this object owns.

    Args:
        stop_event: event with a method `is_set`; the cluster stops when it is set.
        start_event: event with a method `set`, which is called when the cluster is complete.
        cluster_id: id of the cluster; None for a new one.
        broker: broker whose settings the cluster uses; None for the current settings.
        timeout: timeout of tasks in seconds; None for the setting.
        start: False to start nothing until `start` is called.
    """

    def __init__(
        self,
        stop_event: Any,
        start_event: Any,
        cluster_id: object = None,
        broker: Broker | None = None,
        timeout: float | None = None,
        start: bool = True,
    ) -> None:
        settings = current_settings() if broker is None else broker.settings
        if timeout is not None:
            settings = replace(settings, timeout=timeout)
        self.stop_event, self.start_event = stop_event, start_event
        self.broker = broker or get_broker()
        self.cluster = Cluster(settings=settings)
        """The cluster."""
        if cluster_id is not None:
            self.cluster.cluster_id = str(cluster_id)
        self.parent_pid, self.timeout = os.getpid(), settings.timeout
        self.pool_size = settings.workers
        if start:
            self.start()

    def start(self) -> None:
        """Run the cluster until `stop_event` is set."""
        self.spawn_cluster()
        self.guard()

    def spawn_cluster(self) -> None:
        """Start the cluster, and return when all its processes have started."""
        self.cluster.start()

    def guard(self) -> None:
        """Wait until `stop_event` is set or the cluster has ended, and stop it."""
        self.start_event.set()
        while not self.stop_event.is_set() and not self.cluster.has_stopped:
            self.stop_event.wait(STOP_POLL_SECONDS)
        self.stop()

    def stop(self) -> None:
        """Stop the cluster, and return when all its processes have ended."""
        self.cluster.stop()

    def status(self) -> str:
        """Return the state of the cluster, such as `Conf.IDLE`."""
        return self.cluster.stat.status

    @property
    def name(self) -> str:
        """Readable name of the cluster."""
        return self.cluster.name

    @property
    def pid(self) -> int:
        """Process id of the real sentinel; 0 before the start."""
        return self.cluster.stat.sentinel

    @property
    def pusher(self) -> int:
        """Process id of the pusher."""
        return self.cluster.stat.pusher

    @property
    def monitor(self) -> int:
        """Process id of the monitor."""
        return self.cluster.stat.monitor

    @property
    def pool(self) -> list[int]:
        """Process ids of the workers."""
        return self.cluster.stat.workers

    @property
    def reincarnations(self) -> int:
        """Number of processes that were replaced."""
        return self.cluster.stat.reincarnations

    @property
    def tob(self) -> datetime | None:
        """Time of birth; None before the start."""
        return self.cluster.stat.tob


def set_cpu_affinity(n: int, process_ids: Sequence[int], actual: bool = True) -> None:
    """Bind processes to processors: each to the next *n*, starting again after the last one.

    Args:
        n: processors of each process; all if it is 0 or not smaller than their number.
        process_ids: ids of the processes.
        actual: False to bind nothing. On systems without CPU affinity, nothing is bound, either.
    """
    cpus = available_cpus()
    if not actual or sys.platform != "linux" or not 0 < n < len(cpus):
        return
    for pid, window in zip(process_ids, cpu_windows(len(process_ids), len(cpus), n), strict=True):
        os.sched_setaffinity(pid, [cpus[position] for position in window])


def get_mp_context() -> BaseContext:
    """Return the `multiprocessing` context of the setting `start_method`."""
    return context_of(current_settings().start_method)
