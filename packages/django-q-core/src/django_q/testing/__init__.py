"""Test helpers for projects and plugins."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from django_q.testing.eventually import eventually

if TYPE_CHECKING:
    from django_q.testing.captured import (
        CapturedTasksMixin,
        assert_sent,
        captured_tasks,
        immediate,
        run_tasks,
        sent_tasks,
    )
    from django_q.testing.conformance import BrokerConformance
    from django_q.testing.memory_server import MemoryServer
    from django_q.testing.reporter import ReporterConformance
    from django_q.testing.task_backend import TaskBackendConformance

__all__ = [
    "BrokerConformance",
    "CapturedTasksMixin",
    "MemoryServer",
    "ReporterConformance",
    "TaskBackendConformance",
    "assert_sent",
    "captured_tasks",
    "eventually",
    "immediate",
    "run_tasks",
    "sent_tasks",
]

SUITES: Final = {
    "BrokerConformance": "django_q.testing.conformance",
    "ReporterConformance": "django_q.testing.reporter",
    "TaskBackendConformance": "django_q.testing.task_backend",
}
"""Conformance suites, each with its module, which needs pytest."""

TOOLS: Final = {
    "MemoryServer": "django_q.testing.memory_server",
    **dict.fromkeys(
        ("CapturedTasksMixin", "assert_sent", "captured_tasks", "immediate", "run_tasks", "sent_tasks"),
        "django_q.testing.captured",
    ),
}
"""Other helpers, each with its module. They need Django's settings, and pytest loads this package before those."""


def __getattr__(name: str) -> Any:
    """Import a helper on first use."""
    if name in TOOLS:
        return getattr(import_module(TOOLS[name]), name)
    if name not in SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    pytest.register_assert_rewrite(SUITES[name])
    return getattr(import_module(SUITES[name]), name)
