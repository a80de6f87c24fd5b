"""Selects the schedules that belong to a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from django_q.databases.names import is_named

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings


def of_cluster(settings: ClusterSettings) -> Q:
    """Return a condition that selects the schedules of a cluster. The default one has those without cluster, too."""
    named = is_named("cluster", settings.list_key)
    return named | Q(cluster=None) | Q(cluster="") if settings.is_default_cluster else named
