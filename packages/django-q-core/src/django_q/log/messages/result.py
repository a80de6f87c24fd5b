"""Messages about saving and deleting results."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_q.log.events import Message, event
from django_q.log.fields import of_outcome, of_task
from django_q.text import error_line, one_line

if TYPE_CHECKING:
    from django_q.models import Task
    from django_q.wire.outcome import Outcome


@event(logging.ERROR)
def not_saved(outcome: Outcome, error: Exception) -> Message:
    """Log that an outcome could not be saved, so that a failure is saved in its place."""
    text = "Task %s: outcome not saved, saving a failure instead"
    return Message(text, (outcome.id,), of_outcome(outcome), error)


@event(logging.ERROR)
def member_not_saved(outcome: Outcome, reason: str) -> Message:
    """Log that the outcome of a member of an iter could not be saved, so that a failure is saved in its place."""
    text = "Task '%s' (%s): not saved (%s), saving a failure instead"
    return Message(text, (one_line(outcome.name), outcome.id, reason), of_outcome(outcome))


@event(logging.ERROR)
def rejected_by_database(outcome: Outcome, error: Exception) -> Message:
    """Log that the database rejects an outcome, so that a part of it is replaced."""
    text = "Task '%s' (%s): the database rejects it (%s)"
    return Message(text, (one_line(outcome.name), outcome.id, one_line(error)), of_outcome(outcome))


@event(logging.ERROR)
def rejected_by_cache(outcome: Outcome, size: int, reason: str) -> Message:
    """Log that the cache rejects a result, so that a failure is saved in its place."""
    text = "Task '%s' (%s): the cache rejects its result of %s characters (%s), saving a failure instead"
    return Message(text, (one_line(outcome.name), outcome.id, f"{size:,}", reason), of_outcome(outcome))


@event(logging.ERROR)
def follow_up_failed(outcome: Outcome, error: Exception) -> Message:
    """Log that something that follows a saved outcome failed, such as sending the next link of a chain."""
    return Message("Follow-up of %s failed", (outcome.id,), of_outcome(outcome), error)


@event(logging.ERROR)
def record_not_written(task_id: str, error: Exception) -> Message:
    """Log that the record of a tracked task could not be changed, so that it does not show an attempt."""
    text = "Task %s: its record could not be changed (%s)"
    return Message(text, (one_line(task_id), error_line(error)), of_task(task_id))


@event(logging.WARNING)
def pruning_failed(error: Exception) -> Message:
    """Log that the successes beyond `save_limit` could not be deleted."""
    return Message("Results: pruning failed (%s), retrying after the next task", (error_line(error),))


@event(logging.WARNING)
def not_deletable(task: Task, task_id: str, error: BaseException) -> Message:
    """Log that a success beyond `save_limit` is skipped, because it cannot be deleted."""
    text = "Success '%s' (%s) is beyond save_limit and cannot be deleted (%s), it is skipped"
    fields = of_task(task_id, task.name, task.func, task.attempt_count)
    return Message(text, (one_line(task.name), task_id, error_line(error)), fields)
