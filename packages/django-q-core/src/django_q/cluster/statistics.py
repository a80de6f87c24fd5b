"""The cluster's shared memory as a `Stat`."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django_q.clock import in_project_time
from django_q.status import IDLE, STARTING, STOPPED, STOPPING, WORKING, Stat

from .state import ClusterState, Phase

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings


def stat_of(state: ClusterState, cluster_id: str, settings: ClusterSettings) -> Stat:
    """Take a snapshot of a cluster.

    Args:
        state: its shared memory.
        cluster_id: its id.
        settings: its settings.

    Returns:
        Plain values that stay as they are.
    """
    return Stat(
        cluster_id=cluster_id,
        queue=settings.list_key,
        host=socket.gethostname(),
        pid=state.parent,
        sentinel=state.sentinel,
        pusher=state.pusher,
        monitor=state.monitor,
        workers=[slot.pid for slot in state.slots if slot.pid],
        status=status_of(state),
        tob=in_project_time(datetime.fromtimestamp(state.born, UTC)) if state.born else None,
        reincarnations=state.reincarnations,
        task_q_size=state.waiting,
        done_q_size=state.unsaved,
    )


def status_of(state: ClusterState) -> str:
    """Say in one of the manual's words what a cluster is doing."""
    match state.phase:
        case Phase.STARTING:
            return str(STARTING)
        case Phase.STOPPING | Phase.ENDING:
            return str(STOPPING)
        case Phase.STOPPED:
            return str(STOPPED)
        case _:
            return str(IDLE if state.idle else WORKING)
