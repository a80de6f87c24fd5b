"""Cluster: one sentinel and the processes that it supervises.

Public names are imported when they are first used: a process that is not forked imports `launch` before Django is set
up.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django_q.old_names import resolver

if TYPE_CHECKING:
    from .cluster import Cluster

__all__ = ["NEEDS_UNIX", "Cluster"]

NEEDS_UNIX = (
    "A cluster needs Linux, macOS or another Unix: run it in WSL or in a container, or set Q_CLUSTER['sync'] = True to "
    "run tasks in the process that sends them."
)
"""Message for Windows."""

NAMES_FOR_UNIX = ("Cluster", "Sentinel")
"""Names that Windows does not have."""

_old_name = resolver(__name__)


def __getattr__(name: str) -> Any:
    """Import a public or old name when it is first used.

    Raises:
        ImportError: the system is Windows.
    """
    if name in NAMES_FOR_UNIX and sys.platform == "win32":
        raise ImportError(NEEDS_UNIX)
    if name == "Cluster":
        return import_module("django_q.cluster.cluster").Cluster
    return _old_name(name)
