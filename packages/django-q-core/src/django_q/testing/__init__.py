"""Test helpers for projects and plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_q.testing.eventually import eventually
from django_q.testing.memory_server import MemoryServer

if TYPE_CHECKING:
    from django_q.testing.conformance import BrokerConformance

__all__ = ["BrokerConformance", "MemoryServer", "eventually"]


def __getattr__(name: str) -> Any:
    """Import the conformance suite on first use, because only the suite needs pytest."""
    if name != "BrokerConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    pytest.register_assert_rewrite("django_q.testing.conformance")
    from django_q.testing.conformance import BrokerConformance

    return BrokerConformance
