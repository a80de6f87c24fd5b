"""Test helpers for projects and plugins."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from django_q.testing.eventually import eventually
from django_q.testing.memory_server import MemoryServer

if TYPE_CHECKING:
    from django_q.testing.conformance import BrokerConformance
    from django_q.testing.reporter import ReporterConformance
    from django_q.testing.task_backend import TaskBackendConformance

__all__ = ["BrokerConformance", "MemoryServer", "ReporterConformance", "TaskBackendConformance", "eventually"]

SUITES: Final = {
    "BrokerConformance": "django_q.testing.conformance",
    "ReporterConformance": "django_q.testing.reporter",
    "TaskBackendConformance": "django_q.testing.task_backend",
}
"""Conformance suites, each with its module."""


def __getattr__(name: str) -> Any:
    """Import a conformance suite on first use, because only the suites need pytest."""
    if name not in SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    pytest.register_assert_rewrite(SUITES[name])
    return getattr(import_module(SUITES[name]), name)
