"""One slot of a schedule → a task package."""

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
"""Of the ids of scheduled tasks."""


class Errand(NamedTuple):
    """A task and the queue it is for."""

    package: TaskPackage
    queue: str | None
    """The cluster it was sent to by name; None: the one that sends it."""
    may_stay: bool
    """May the cluster that sends it keep it, when that other queue cannot be reached?"""


def pack(schedule: Schedule, moment: datetime | None, settings: ClusterSettings) -> Errand:
    """Write down the task of one slot.

    Args:
        schedule: whose task it is.
        moment: the slot; None for a run that nobody scheduled.
        settings: of the cluster that sends it.

    Raises:
        UnreadableArguments: its arguments are not literals.
        OptionError: its cluster cannot exist, or an option in its `q_options` does not exist or is invalid.
    """
    if is_dead_letter_queue(schedule.cluster):
        raise invalid("cluster", schedule.cluster, CLUSTER_NAME)
    args, kwargs = read_args(schedule.args), read_kwargs(schedule.kwargs)
    if schedule.intended_date_kwarg and moment is not None:
        kwargs[schedule.intended_date_kwarg] = moment.isoformat()
    options = take(kwargs, known=SCHEDULE_OPTIONS)
    named, broker_name = options.pop("cluster", None), options.pop("broker_name", None)
    queue = None if schedule.cluster else named or broker_name
    for meaningless in ("broker", "sync"):  # a broker cannot be written down; the scheduler is no place to run a task
        options.pop(meaningless, None)
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
    return Errand(package, None if queue == settings.list_key else queue, not named)


def task_id(schedule: Schedule, moment: datetime, salt: str) -> str:
    """Name the task of a slot: the same whoever sends it, and another one when the slot is run again on purpose."""
    return uuid5(NAMESPACE, f"{salt}/{schedule.pk}/{schedule.runs}/{moment.isoformat()}").hex


def may_overlap(schedule: Schedule) -> bool:
    """Return whether a slot is sent while the task of the one before waits or runs."""
    return schedule.overlap or schedule.schedule_type == schedule.ONCE
