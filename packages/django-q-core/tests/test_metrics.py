"""Metrics of a site's own processes."""

from __future__ import annotations

import pytest
from django_q import signals
from django_q.tasks import async_task

prometheus_client = pytest.importorskip("prometheus_client")
metrics = pytest.importorskip("django_q.metrics")


def test_sent_tasks_are_counted(db, django_q_tasks):
    registry = prometheus_client.CollectorRegistry()
    metrics.count_sent_tasks(registry)
    try:
        for _ in range(3):
            async_task("math.floor", 1.5)
    finally:
        signals.pre_enqueue.disconnect(dispatch_uid="django_q.metrics.count_sent_tasks")
    assert registry.get_sample_value("django_q_tasks_sent_total") == 3
    async_task("math.floor", 1.5)
    assert registry.get_sample_value("django_q_tasks_sent_total") == 3
