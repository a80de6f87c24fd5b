"""Counts the tasks that a site sends, for the metrics of its own processes. It needs the extra `metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, Counter

from django_q.signals import pre_enqueue

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def count_sent_tasks(registry: CollectorRegistry = REGISTRY) -> Counter:
    """Count the tasks that this process sends, as `django_q_tasks_sent_total`.

    Call it once, in `AppConfig.ready`. A cluster counts the tasks of its own processes without it.

    Args:
        registry: registry whose metrics the site exposes.

    Returns:
        The counter.
    """
    counter = Counter("django_q_tasks_sent", "Tasks that this process sent.", registry=registry)

    def count(**_: Any) -> None:
        counter.inc()

    pre_enqueue.connect(count, weak=False, dispatch_uid="django_q.metrics.count_sent_tasks")
    return counter
