"""Metrics of a site's own processes."""

from __future__ import annotations

import sys

import pytest
from django_q import metrics, signals
from django_q.exceptions import ConfigurationError
from django_q.tasks import async_task


def test_sent_tasks_are_counted(db, django_q_tasks):
    prometheus_client = pytest.importorskip("prometheus_client")
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


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigurationError, match="pip install"):
        metrics.count_sent_tasks()
