"""Selects the schedules that belong to a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from django_q.databases.names import is_named
from django_q.databases.statements import Condition
from django_q.settings.rules import DEAD_LETTER_ENDS

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings


def of_cluster(settings: ClusterSettings) -> Q:
    """Return a condition that selects the schedules of a cluster. The default one has those without cluster, too."""
    named = is_named("cluster", settings.list_key)
    return named | Q(cluster=None) | Q(cluster="") if settings.is_default_cluster else named


def sql_of_cluster(settings: ClusterSettings) -> Condition:
    """Return the condition in SQL, for statements without Django's query compiler. It may select more schedules.

    The default cluster also has those whose cluster cannot exist, to mark them. Upper and lower case may be equal.
    """
    ours = "{cluster} = %s"
    if not settings.is_default_cluster:
        return Condition(ours, [settings.list_key])
    ours += " OR {cluster} IS NULL OR {cluster} = ''" + " OR {cluster} LIKE %s" * len(DEAD_LETTER_ENDS)
    return Condition(ours, [settings.list_key, *(f"%{end}" for end in DEAD_LETTER_ENDS)])
