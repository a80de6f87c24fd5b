"""Statistics that a cluster publishes."""

from __future__ import annotations

from django_q.__about__ import __version__
from django_q.cluster.ipc.state import ClusterState
from django_q.cluster.statistics import stat_of
from django_q.settings import current_settings


def test_cluster_publishes_its_version() -> None:
    assert stat_of(ClusterState(1), "a-cluster", current_settings()).version == __version__
