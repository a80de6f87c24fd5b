"""Messages about schedules."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django_q.log.events import Message, event
from django_q.log.fields import TASK_NAME, of_package
from django_q.text import error_line, one_line, traceback_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_q.models import Schedule


def _label(schedule: Schedule) -> str:
    """Return the name of a schedule, or its id."""
    return one_line(schedule.name or schedule.pk)


@event(logging.INFO)
def sent(name: str, schedule: Schedule, package: Mapping[str, Any]) -> Message:
    """Log that the task of a due slot was sent."""
    fields = of_package(package)
    return Message("%s created task %s from schedule [%s]", (name, fields[TASK_NAME], _label(schedule)), fields)


@event(logging.INFO)
def skipped(name: str, schedule: Schedule) -> Message:
    """Log that a slot was skipped because the previous task has not ended."""
    text = "%s: skipped a slot of schedule [%s] (its task %s still waits or runs)"
    return Message(text, (name, _label(schedule), schedule.waiting_for))


@event(logging.ERROR)
def not_sent(name: str, schedule: Schedule, reason: str) -> Message:
    """Log that the task of a schedule could not be sent."""
    return Message("%s: cannot send schedule [%s] (%s), retrying", (name, _label(schedule), reason))


@event(logging.INFO)
def resumed(name: str, schedule: Schedule) -> Message:
    """Log that the task of a schedule could be sent again."""
    return Message("%s: schedule [%s] is sent again", (name, _label(schedule)))


@event(logging.INFO)
def declared(name: str, done: str, names: Sequence[str]) -> Message:
    """Log the changes of schedules that the code declares."""
    return Message("%s: %s schedules declared in code: %s", (name, done, ", ".join(map(one_line, names))))


@event(logging.ERROR)
def not_synchronised(name: str, error: Exception) -> Message:
    """Log that the declared schedules could not be synchronised with the database."""
    text = "%s: cannot synchronise the schedules declared in code (%s), they stay unchanged\n%s"
    return Message(text, (name, error_line(error), traceback_of(error)))


@event(logging.ERROR)
def invalid(name: str, schedule: str, reason: str) -> Message:
    """Log that the code declares an invalid schedule."""
    return Message("%s: invalid schedule [%s] declared in code (%s)", (name, one_line(schedule), reason))


@event(logging.ERROR)
def module_skipped(name: str, module: str) -> Message:
    """Log that a module is not imported, because its import ended or blocked the previous scheduler process."""
    return Message("%s: module %s skipped (the previous scheduler ended or hung during its import)", (name, module))


@event(logging.ERROR)
def module_not_imported(name: str, module: str, error: BaseException) -> Message:
    """Log that a module which may declare schedules cannot be imported."""
    text = "%s: cannot import %s (%s), the schedules that it declares stay unchanged\n%s"
    return Message(text, (name, module, error_line(error), traceback_of(error)))
