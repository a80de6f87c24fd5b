"""The result of one pass over the due schedules, until it is committed."""

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


class Waiting(NamedTuple):
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
class Turn:
    """The result of one pass over the due schedules."""

    sent: list[tuple[Schedule, TaskPackage]] = field(default_factory=list)
    skipped: list[Schedule] = field(default_factory=list)
    broken: list[tuple[Schedule, BaseException]] = field(default_factory=list)
    down: dict[str | None, BrokerUnavailable] = field(default_factory=dict)
    """Queues that could not be reached; what is for them stays due."""
    more: bool = False
    """True if more is due that can be sent now."""
    waiting: list[Waiting] = field(default_factory=list)
    """Tasks for the cluster's own queue that are not sent yet."""
    beside: list[tuple[Broker, TaskPackage]] = field(default_factory=list)
    """Packages for other queues of the schedules' database that are not sent yet."""
    next: datetime | None = None
    """When something is due next, if that is soon."""

    def add(self, other: Turn) -> None:
        """Count in what was committed."""
        self.sent += other.sent
        self.skipped += other.skipped
        self.broken += other.broken
        self.down |= other.down
        self.more |= other.more
        self.due_at(other.next)

    def due_at(self, moment: datetime | None) -> None:
        """Remember the soonest."""
        if moment is not None and (self.next is None or moment < self.next):
            self.next = moment


def state_of(schedule: Schedule) -> dict[str, Any]:
    """Return what the scheduler writes, as it is now."""
    return {name: getattr(schedule, name) for name in COLUMNS}


def leave_sent(turn: Turn, part: Sequence[Waiting], error: BrokerError) -> None:
    """Note what of a part was sent before the broker failed, so that it is not sent again."""
    turn.sent += [(each.schedule, each.package) for position, each in enumerate(part) if position in error.sent]
    left = [each for position, each in enumerate(part) if position not in error.sent]
    turn.waiting[: len(part)] = left


def take_back(turn: Turn, waiting: Sequence[Waiting]) -> None:
    """Let slots be due again whose tasks were not sent."""
    for each in reversed(waiting):
        for name, value in each.before.items():
            setattr(each.schedule, name, value)
    gone = {id(each) for each in waiting}
    turn.waiting = [each for each in turn.waiting if id(each) not in gone]


def blame(schedule: Schedule, error: BaseException, now: datetime, turn: Turn) -> None:
    """Mark a schedule that cannot be sent; the others go on."""
    schedule.last_error, schedule.retry_at = reason_of(error), now + RETRY
    turn.broken.append((schedule, error))


def move_on(schedule: Schedule, following: Slot | None) -> None:
    """Leave a slot behind; without a following one it was the last."""
    schedule.runs += 1
    schedule.last_error = schedule.retry_at = None
    if following is not None:
        schedule.move_to(following)
    elif schedule.schedule_type != Schedule.ONCE:
        schedule.repeats = 0


def count_down(schedule: Schedule) -> None:
    """Count one run.

    Without a limit, the count goes on below zero. A Once schedule is not run again; a negative count deletes it.
    """
    if schedule.schedule_type != Schedule.ONCE:
        schedule.repeats -= 1
    elif schedule.repeats > 0:
        schedule.repeats = 0


def was_sent_in(turn: Turn, schedule: Schedule) -> bool:
    """Return True if this turn sends an earlier slot of a schedule."""
    return any(each.schedule is schedule for each in turn.waiting) or any(each is schedule for each, _ in turn.sent)
