"""A cluster: one sentinel and the processes it guards."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .cluster import Cluster
from .sentinel import Sentinel

__all__ = ["Cluster", "Sentinel"]


def __getattr__(name: str) -> Any:
    """Find `scheduler`, a function of the public editions, which needs the models: this package does not."""
    if name == "scheduler":
        return import_module("django_q.scheduler").scheduler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
