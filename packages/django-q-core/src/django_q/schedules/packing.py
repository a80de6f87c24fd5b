"""Creates the task package of a slot of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID, uuid5

from django_q.arguments import read_args, read_kwargs
from django_q.settings.rules import CLUSTER_NAME, is_dead_letter_queue
from django_q.wire.building import build_package
from django_q.wire.ids import new_id
from django_q.wire.option_values import invalid
from django_q.wire.options import SCHEDULE_OPTIONS, take

if TYPE_CHECKING:
    from datetime import datetime

    from django_q.models import Schedule
    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage

NAMESPACE: Final = UUID("c8b3f1de-5f3c-5c8e-9d3a-0b1f6c2f7a55")
"""Namespace of the ids of scheduled tasks."""


class ScheduledTask(NamedTuple):
    """Package of a scheduled task, and its target queue."""

    package: TaskPackage
    queue: str | None
    """Name of the target cluster; None means the sending one."""
    may_use_own_queue: bool
    """True if the task may go to the sending cluster's queue while the target queue is unavailable."""


def pack(schedule: Schedule, moment: datetime | None, settings: ClusterSettings) -> ScheduledTask:
    """Create the task of one slot.

    Args:
        schedule: the schedule.
        moment: time of the slot; None for a run at once, outside of the slots.
        settings: of the sending cluster.

    Raises:
        UnreadableArguments: the arguments are not literals.
        OptionError: the cluster cannot exist, or an option in `q_options` does not exist or is invalid.
    """
    if is_dead_letter_queue(schedule.cluster):
        raise invalid("cluster", schedule.cluster, CLUSTER_NAME)
    args, kwargs = read_args(schedule.args), read_kwargs(schedule.kwargs)
    if schedule.intended_date_kwarg and moment is not None:
        kwargs[schedule.intended_date_kwarg] = moment.isoformat()
    options = take(kwargs, known=SCHEDULE_OPTIONS)
    named, broker_name = options.pop("cluster", None), options.pop("broker_name", None)
    queue = None if schedule.cluster else named or broker_name
    for ignored in ("broker", "sync"):  # a broker cannot be pickled; the scheduler must not execute tasks
        options.pop(ignored, None)
    options["group"] = options.get("group") or schedule.name or str(schedule.pk)
    if schedule.hook:
        options["hook"] = schedule.hook
    if queue:
        options["cluster"] = queue
    options["task_id"] = task_id(schedule, moment, settings.salt) if moment else new_id()
    package = build_package(schedule.func, args, kwargs, options, settings)
    package["schedule"] = str(schedule.pk)
    if not may_overlap(schedule):
        package["waited_for"] = True
    return ScheduledTask(package, None if queue == settings.list_key else queue, not named)


def task_id(schedule: Schedule, moment: datetime, salt: str) -> str:
    """Return the id of the task of a slot: equal in all schedulers, and new if the slot is run again on purpose."""
    return uuid5(NAMESPACE, f"{salt}/{schedule.pk}/{schedule.runs}/{moment.isoformat()}").hex


def may_overlap(schedule: Schedule) -> bool:
    """Return True if a slot is sent while the previous task waits or runs."""
    return schedule.overlap or schedule.schedule_type == schedule.ONCE
