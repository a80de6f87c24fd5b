"""What one look at the schedules leads to, until it is committed."""

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


RETRY: Final = timedelta(seconds=30)
"""When a schedule that could not be sent is tried again, unless it is saved before."""


COLUMNS: Final = ("next_run", "wall", "repeats", "task", "runs", "last_error", "retry_at", "zone")
"""Columns written by the transaction that sends a slot. Not `waiting_for`: the task may have ended already."""


class PendingTask(NamedTuple):
    """A task that is sent with others, in a moment."""

    schedule: Schedule
    package: TaskPackage
    before: dict[str, Any]
    """The state of the schedule before this slot."""


class Signed(NamedTuple):
    """Packages for one queue, which are signed and not sent yet."""

    broker: Broker
    packages: list[TaskPackage]
    texts: list[str]


@dataclass
class Pass:
    """What one look at the schedules led to."""

    sent: list[tuple[Schedule, TaskPackage]] = field(default_factory=list)
    skipped: list[Schedule] = field(default_factory=list)
    broken: list[tuple[Schedule, BaseException]] = field(default_factory=list)
    unavailable: dict[str, BrokerUnavailable] = field(default_factory=dict)
    """Other queues that are unavailable; schedules for them stay due."""
    own_queue_error: BrokerUnavailable | None = None
    """Error of the cluster's own queue if that is unavailable; all that is left stays due."""
    more: bool = False
    """Is something still due that can be sent now?"""
    pending: list[PendingTask] = field(default_factory=list)
    """What goes to the cluster's own queue, and is not sent yet."""
    beside: list[tuple[Broker, TaskPackage]] = field(default_factory=list)
    """Packages for other queues of the schedules' database that are not sent yet."""
    next: datetime | None = None
    """When something is due next, if that is soon."""

    def add(self, other: Pass) -> None:
        """Count in what was committed."""
        self.sent += other.sent
        self.skipped += other.skipped
        self.broken += other.broken
        self.unavailable |= other.unavailable
        self.own_queue_error = other.own_queue_error or self.own_queue_error
        self.more |= other.more
        self.due_at(other.next)

    def due_at(self, moment: datetime | None) -> None:
        """Remember the soonest."""
        if moment is not None and (self.next is None or moment < self.next):
            self.next = moment


def state_of(schedule: Schedule) -> dict[str, Any]:
    """Return what the scheduler writes, as it is now."""
    return {name: getattr(schedule, name) for name in COLUMNS}


def leave_sent(this_pass: Pass, part: Sequence[PendingTask], error: BrokerError) -> None:
    """Note what of a part was sent before the broker failed, so that it is not sent again."""
    this_pass.sent += [(each.schedule, each.package) for position, each in enumerate(part) if position in error.sent]
    left = [each for position, each in enumerate(part) if position not in error.sent]
    this_pass.pending[: len(part)] = left


def take_back(this_pass: Pass, pending: Sequence[PendingTask]) -> None:
    """Let slots be due again whose tasks were not sent."""
    for each in reversed(pending):
        for name, value in each.before.items():
            setattr(each.schedule, name, value)
    gone = {id(each) for each in pending}
    this_pass.pending = [each for each in this_pass.pending if id(each) not in gone]


def blame(schedule: Schedule, error: BaseException, now: datetime, this_pass: Pass) -> None:
    """Mark a schedule that cannot be sent; the others go on."""
    schedule.last_error, schedule.retry_at = reason_of(error), now + RETRY
    this_pass.broken.append((schedule, error))


def move_on(schedule: Schedule, following: Slot | None) -> None:
    """Leave a slot behind; without a following one it was the last."""
    schedule.runs += 1
    schedule.last_error = schedule.retry_at = None
    if following is not None:
        schedule.move_to(following)
    elif schedule.schedule_type != Schedule.ONCE:
        schedule.repeats = 0


def count_down(schedule: Schedule) -> None:
    """Count one run: for ever counts on below zero, once is not run again and deleted if its count is negative."""
    if schedule.schedule_type != Schedule.ONCE:
        schedule.repeats -= 1
    elif schedule.repeats > 0:
        schedule.repeats = 0


def was_sent_in(this_pass: Pass, schedule: Schedule) -> bool:
    """Return True if a pass sends an earlier slot of a schedule."""
    schedules = [each.schedule for each in this_pass.pending] + [each for each, _ in this_pass.sent]
    return any(each is schedule for each in schedules)
