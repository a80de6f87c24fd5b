"""Counts the tasks that a site sends, for the metrics of its own processes. It needs the extra `metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.exceptions import ConfigurationError
from django_q.signals import pre_enqueue

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter


def count_sent_tasks(registry: CollectorRegistry | None = None) -> Counter:
    """Count the tasks that this process sends, as `django_q_tasks_sent_total`.

    Call it once, in `AppConfig.ready`. A cluster counts the tasks of its own processes without it.

    Args:
        registry: registry whose metrics the site exposes; None for the default registry of `prometheus_client`.

    Returns:
        The counter.

    Raises:
        ConfigurationError: `prometheus_client` is not installed.
    """
    try:
        from prometheus_client import REGISTRY, Counter
    except ImportError as error:
        raise ConfigurationError('Metrics need a library: pip install "django-q-core[metrics]".') from error
    counter = Counter("django_q_tasks_sent", "Tasks that this process sent.", registry=registry or REGISTRY)

    def count(**_: Any) -> None:
        counter.inc()

    pre_enqueue.connect(count, weak=False, dispatch_uid="django_q.metrics.count_sent_tasks")
    return counter
