"""State of one pass of the scheduler over the due schedules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django_q.models import Schedule
from django_q.schedules.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.brokers import Broker
    from django_q.exceptions import BrokerError, BrokerUnavailable
    from django_q.recurrence import Slot
    from django_q.wire.package import TaskPackage


RETRY_DELAY: Final = timedelta(seconds=30)
"""Delay before the next try of a schedule that was not sent. If the schedule is saved, it is tried at once."""

SLOT_COLUMNS: Final = ("next_run", "wall", "repeats", "task", "runs", "last_error", "retry_at", "zone")
"""Columns written by the transaction that sends a slot. Not `waiting_for`: the task may have ended already."""


class PendingTask(NamedTuple):
    """Task that will be sent together with others."""

    schedule: Schedule
    package: TaskPackage
    before: dict[str, Any]
    """State of the schedule before this slot."""


class Signed(NamedTuple):
    """Signed packages for one queue that are not sent yet."""

    broker: Broker
    packages: list[TaskPackage]
    texts: list[str]


@dataclass
class Pass:
    """Events of one pass over the due schedules."""

    sent: list[tuple[Schedule, TaskPackage]] = field(default_factory=list)
    """Schedules and their sent tasks."""
    skipped: list[Schedule] = field(default_factory=list)
    """Schedules without overlap whose slot was skipped."""
    broken: list[tuple[Schedule, BaseException]] = field(default_factory=list)
    """Schedules that were marked with an error."""
    unavailable: dict[str, BrokerUnavailable] = field(default_factory=dict)
    """Other queues that are unavailable; schedules for them stay due."""
    own_queue_error: BrokerUnavailable | None = None
    """Error of the cluster's own queue if that is unavailable; all that is left stays due."""
    more: bool = False
    """True if more is due that can be sent now."""
    pending: list[PendingTask] = field(default_factory=list)
    """Tasks for the cluster's own queue that are not sent yet."""
    in_transaction: list[tuple[Broker, TaskPackage]] = field(default_factory=list)
    """Packages for other queues in the database of the schedules that are not sent yet."""
    next: datetime | None = None
    """Time of the next slot, if it is soon."""

    def add(self, other: Pass) -> None:
        """Add the events of a committed transaction."""
        self.sent += other.sent
        self.skipped += other.skipped
        self.broken += other.broken
        self.unavailable |= other.unavailable
        self.own_queue_error = other.own_queue_error or self.own_queue_error
        self.more |= other.more
        self.due_at(other.next)

    def due_at(self, moment: datetime | None) -> None:
        """Keep the earliest time of a next slot."""
        if moment is not None and (self.next is None or moment < self.next):
            self.next = moment


def state_of(schedule: Schedule) -> dict[str, Any]:
    """Return the columns that the scheduler writes, with their present values."""
    return {name: getattr(schedule, name) for name in SLOT_COLUMNS}


def record_sent(this_pass: Pass, part: Sequence[PendingTask], error: BrokerError) -> None:
    """Record the tasks of a part that were sent before the broker failed, so that they are not sent again."""
    this_pass.sent += [(each.schedule, each.package) for position, each in enumerate(part) if position in error.sent]
    left = [each for position, each in enumerate(part) if position not in error.sent]
    this_pass.pending[: len(part)] = left


def restore(this_pass: Pass, pending: Sequence[PendingTask]) -> None:
    """Restore the state of schedules whose tasks were not sent, so that their slots are due again."""
    for each in reversed(pending):
        for name, value in each.before.items():
            setattr(each.schedule, name, value)
    gone = {id(each) for each in pending}
    this_pass.pending = [each for each in this_pass.pending if id(each) not in gone]


def mark(schedule: Schedule, error: BaseException, now: datetime, this_pass: Pass) -> None:
    """Mark a schedule with its error. Others are not affected."""
    schedule.last_error, schedule.retry_at = reason_of(error), now + RETRY_DELAY
    this_pass.broken.append((schedule, error))


def move_on(schedule: Schedule, following: Slot | None) -> None:
    """Advance a schedule to its next slot. Without a next one, it ends."""
    schedule.runs += 1
    schedule.last_error = schedule.retry_at = None
    if following is not None:
        schedule.move_to(following)
    elif schedule.schedule_type != Schedule.ONCE:
        schedule.repeats = 0


def count_down(schedule: Schedule) -> None:
    """Count one run. Below zero there is no limit; a Once schedule with a negative number is deleted later."""
    if schedule.schedule_type != Schedule.ONCE:
        schedule.repeats -= 1
    elif schedule.repeats > 0:
        schedule.repeats = 0


def was_sent_in(this_pass: Pass, schedule: Schedule) -> bool:
    """Return True if a pass sends an earlier slot of a schedule."""
    schedules = [each.schedule for each in this_pass.pending] + [each for each, _ in this_pass.sent]
    return any(each is schedule for each in schedules)
