"""Executes the code of a cluster's processes once before the first fork.

Python specialises the code of a function during its first calls (PEP 659), and Django fills its caches. If this happens
after the fork, each process copies the memory. This module connects to no server and runs no code of the project.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from django.db import connections, router
from django.db.models.deletion import Collector
from django.utils import timezone

from django_q.cluster.ipc.channels import Channel
from django_q.cluster.ipc.messages import Kind, TaskMessage, pack, unpack
from django_q.cluster.isolation import Baseline
from django_q.execution.outcome_builder import OutcomeBuilder
from django_q.models import Task
from django_q.status import Stat
from django_q.wire.codec import PackageCodec, StatCodec
from django_q.wire.options import normalise_package

if TYPE_CHECKING:
    from django_q.settings import ClusterSettings

ROUND_COUNT: Final = 20
"""Number of repetitions: Python specialises a function after some calls."""

TASK_ID: Final = "0" * 32

SQLITE_ENGINE: Final = "django.db.backends.sqlite3"


def rehearse(settings: ClusterSettings) -> None:
    """Pass a task through signing, messages and channels, restore the process, sign a `Stat`, and query a database.

    Args:
        settings: settings of the cluster.
    """
    using = router.db_for_write(Task)
    builder = OutcomeBuilder(settings)
    with closing(Channel()) as channel:
        for _ in range(ROUND_COUNT):
            _pass_task(settings, builder, channel)
            with closing(Baseline(channel.files(), has_hook=False)) as baseline:
                baseline.restore()
            StatCodec.of(settings).dumps(Stat(cluster_id=TASK_ID, queue=settings.list_key))
            Collector(using=using).can_fast_delete(Task)  # type: ignore[arg-type]
    if connections[using].settings_dict["ENGINE"] == SQLITE_ENGINE:  # others may require the options of the project
        _execute_statements(using)


def _pass_task(settings: ClusterSettings, builder: OutcomeBuilder, channel: Channel) -> None:
    codec, now = PackageCodec.of(settings), timezone.now()
    package = {"id": TASK_ID, "name": "rehearsal", "func": "math.floor", "args": (1,), "kwargs": {}, "started": now}
    channel.send(TaskMessage(1, 0.0, TASK_ID, codec.dumps(package).encode()).pack())
    task = TaskMessage.unpack(channel.receive() or b"")
    finished = dict(normalise_package(codec.loads(task.package)), result=1, success=True, stopped=now)
    channel.send(pack(Kind.OUTCOME, builder.build(finished, ack_id=task.ack_id, attempt=task.attempt)))
    unpack(channel.receive() or b"")


def _execute_statements(using: str) -> None:
    """Execute statements on an SQLite database in memory, without the options and receivers of the project."""
    settings = {**connections[using].settings_dict, "NAME": ":memory:", "OPTIONS": {}}
    wrapper = type(connections[using])(settings)
    with closing(wrapper.get_new_connection(wrapper.get_connection_params())) as wrapper.connection:
        for _ in range(ROUND_COUNT):
            with wrapper.make_cursor(wrapper.create_cursor()) as cursor:
                cursor.execute("SELECT %s", [1])
                cursor.fetchall()
