"""A cluster: one sentinel and the processes it guards.

Nothing is imported until it is asked for: a process that is not forked imports `launch` before Django is set up.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cluster import Cluster
    from .sentinel import Sentinel

__all__ = ["Cluster", "Sentinel"]

_PLACES = {
    "Cluster": "django_q.cluster.cluster",
    "Sentinel": "django_q.cluster.sentinel",
    "scheduler": "django_q.scheduler",  # a function of the public editions
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
