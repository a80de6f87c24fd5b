"""Command that stops one cluster, from any process of the project."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import router

from django_q.clock import now
from django_q.models import Command

STOP_LIFETIME: Final = timedelta(minutes=5)
"""Time for which a cluster executes the command. It is longer than the usual differences between clocks."""


def request_stop(cluster_id: str) -> None:
    """Write the command that stops a cluster, as SIGTERM to its outermost process would do.

    A cluster that starts later has another id, so that the command cannot stop it.

    Args:
        cluster_id: id of the cluster, as its `Stat` has it.

    Raises:
        django.db.DatabaseError: the command was not written.
    """
    present = now()
    Command._base_manager.using(router.db_for_write(Command)).create(
        kind=Command.Kind.STOP_CLUSTER, target=cluster_id, created_at=present, expires_at=present + STOP_LIFETIME
    )
