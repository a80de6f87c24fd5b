"""A cluster: one sentinel and the processes it guards."""

from .cluster import Cluster
from .sentinel import Sentinel

__all__ = ["Cluster", "Sentinel"]
