"""Executes tasks in the process that sends them, without broker: sync mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from django_q.execution import Executor
from django_q.finishing import Finisher
from django_q.records.creating import record_tracked
from django_q.workflows.batch_rows import new_member
from django_q.workflows.collation import collate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.models import Batch, BatchMember
    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage


def run_inline(package: TaskPackage, *, settings: ClusterSettings, executor: Executor | None = None) -> Executor:
    """Execute a task in this process, and the links of its chain.

    It uses no broker, closes no connection, and works within the caller's transaction.

    Args:
        package: the task.
        settings: of the cluster that the task is for.
        executor: executes the task; None creates one.

    Returns:
        The executor. Its `exception` is the first one that a task raised, or None.
    """
    executor = executor or Executor(settings)
    finisher = Finisher(settings, broker=None)
    waiting, exception = [package], None
    while waiting:
        record_tracked(waiting[:1], settings.list_key)
        following = finisher.finish([executor.execute(waiting.pop(0))])
        waiting += [executor.codec.loads(each) for each in following]
        exception = exception or executor.exception
    executor.exception = exception
    return executor


def run_iter_inline(members: Sequence[TaskPackage], batch: Batch, *, settings: ClusterSettings) -> Executor:
    """Execute the members of an iter in this process, one after another, and save the collated outcome.

    Args:
        members: in the order of the arguments.
        batch: of the iter; it is not saved.
        settings: of the cluster that the tasks are for.

    Returns:
        The executor. Its `exception` is that of the first member that failed, or None.
    """
    executor, finisher = Executor(settings), Finisher(settings, broker=None)
    finished: list[BatchMember] = []
    exception = None
    record_tracked(members, settings.list_key)
    for member in members:
        outcome = executor.execute(member)
        exception = exception or executor.exception
        finisher.announce(outcome)
        batch.kwargs = batch.kwargs or outcome.kwargs
        finished.append(new_member(batch.pk, outcome))
        finisher.track([outcome])
    finisher.finish([collate(batch, finished, executor.builder.result_codec, timezone.now())])
    executor.exception = exception
    return executor
