"""Writes the metrics of a cluster in the format of Prometheus. The only module that imports `prometheus_client`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from django_q.cluster.ipc.state import WorkerState
from django_q.cluster.metrics.tallies import BUCKETS, OTHER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from django_q.cluster.ipc.state import ClusterState
    from django_q.cluster.metrics.survey import QueueSizes
    from django_q.cluster.metrics.tallies import Counter, FunctionTally, HistogramTally, Tallies

__all__ = ["CONTENT_TYPE_LATEST", "Source", "exposition"]


class Source(NamedTuple):
    """Values of the metrics."""

    cluster: str
    """Name of the cluster."""
    state: ClusterState
    tallies: Tallies
    queues: Mapping[str, QueueSizes] | None
    """Sizes by the name of the queue; None if the broker is unavailable."""
    waits: Mapping[str, float] | None
    """Age of the oldest waiting tracked task in seconds by the name of the queue; None without the database."""


def exposition(source: Source) -> bytes:
    """Return the metrics as text."""
    registry = CollectorRegistry()
    registry.register(_Families(source))
    return generate_latest(registry)


class _Families(Collector):
    """Metrics of one time."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering reads no value."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        return itertools.chain(self._servers(), self._queues(), self._processes(), self._tasks())

    def _servers(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "django_q_server_up", "1 if the server has answered this request, else 0.", labels=["cluster", "server"]
        )
        for name, values in (("broker", self.source.queues), ("database", self.source.waits)):
            family.add_metric([self.source.cluster, name], float(values is not None))
        yield family

    def _queues(self) -> Iterable[Metric]:
        waiting, in_flight, dead, age = (
            GaugeMetricFamily(f"django_q_queue_{name}", text, labels=["queue"])
            for name, text in (
                ("waiting_tasks", "Tasks that wait in the queue."),
                ("in_flight_tasks", "Tasks of the queue under a lease, of all clusters."),
                ("dead_letters", "Packages in the dead-letter queue."),
                ("oldest_waiting_seconds", "Age of the oldest task that waits; 0 if none does."),
            )
        )
        for name, sizes in (self.source.queues or {}).items():
            waiting.add_metric([name], sizes.waiting)
            in_flight.add_metric([name], sizes.in_flight)
            dead.add_metric([name], sizes.dead)
        for name, seconds in self._ages().items():
            age.add_metric([name], seconds)
        return waiting, in_flight, dead, age

    def _ages(self) -> dict[str, float]:
        """Return the ages that the broker and the records of tracked tasks show: the greater one by queue."""
        ages = {name: sizes.wait for name, sizes in (self.source.queues or {}).items() if sizes.wait is not None}
        for name, seconds in (self.source.waits or {}).items():
            ages[name] = max(seconds, ages.get(name, 0.0))
        return ages

    def _processes(self) -> Iterable[Metric]:
        cluster, state, tallies = self.source.cluster, self.source.state, self.source.tallies
        workers = GaugeMetricFamily("django_q_workers", "Workers by state.", labels=["cluster", "state"])
        present = [slot for slot in state.slots if slot.pid]
        busy = sum(slot.state in (WorkerState.BUSY, WorkerState.SENDING) for slot in present)
        workers.add_metric([cluster, "busy"], busy)
        workers.add_metric([cluster, "idle"], len(present) - busy)
        restarts = CounterMetricFamily(
            "django_q_process_restarts",
            "Processes that were replaced because they died or hung. Recycled workers do not count.",
            labels=["cluster", "role"],
        )
        for role, counter in tallies.restarts.items():
            restarts.add_metric([cluster, role], counter.value)
        return workers, restarts

    def _tasks(self) -> Iterable[Metric]:
        tallies = self.source.tallies
        yield self._counter("tasks_sent", "Tasks that the processes of the cluster sent.", tallies.sent.values())
        yield self._counter("tasks_started", "Attempts that workers began.", tallies.started)
        text = "Leases that were lost before their task was finished."
        yield self._counter("leases_lost", text, tallies.lost_leases.values())
        functions = [each for each in tallies.functions() if each.function != OTHER or any(each.outcomes.values())]
        yield self._finished(functions)
        text = "Duration of attempts."
        yield self._histogram("django_q_task_run_seconds", text, {each.function: each.run for each in functions})
        text = "Time between sending and start of first attempts, with the delay if there is one."
        yield self._histogram("django_q_task_wait_seconds", text, {each.function: each.wait for each in functions})

    def _counter(self, name: str, text: str, counters: Iterable[Counter]) -> Metric:
        family = CounterMetricFamily(f"django_q_{name}", text, labels=["cluster"])
        family.add_metric([self.source.cluster], sum(counter.value for counter in counters))
        return family

    def _finished(self, functions: Iterable[FunctionTally]) -> Metric:
        family = CounterMetricFamily(
            "django_q_tasks_finished", "Finished attempts by outcome.", labels=["cluster", "function", "outcome"]
        )
        for tally in functions:
            for outcome, count in tally.outcomes.items():
                family.add_metric([self.source.cluster, tally.function, outcome], count)
        return family

    def _histogram(self, name: str, text: str, tallies: Mapping[str, HistogramTally]) -> Metric:
        family = HistogramMetricFamily(name, text, labels=["cluster", "function"])
        bounds = [*map(floatToGoString, BUCKETS), "+Inf"]
        for function, tally in tallies.items():
            buckets = list(zip(bounds, itertools.accumulate(tally.counts), strict=True))
            family.add_metric([self.source.cluster, function], buckets=buckets, sum_value=tally.total)
        return family
