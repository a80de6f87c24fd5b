"""Saves outcomes with the model, for projects with receivers of `pre_save` or `post_save` of `Task`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections
from django.db.models.signals import post_save, pre_save

from django_q.models import Task
from django_q.models.fields import Encoded
from django_q.results.rows import ENCODED, MOMENTS, PLAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.wire.outcome import Outcome


def has_receivers() -> bool:
    """Return True if the project has receivers that require the model to save each `Task`.

    As in the public editions, the sender is `Task`: receivers of its proxies `Success` and `Failure` are not called.
    """
    return pre_save.has_listeners(Task) or post_save.has_listeners(Task)


def write_with_receivers(outcomes: Sequence[Outcome], known: set[str], using: str) -> None:
    """Save outcomes like `write_many`, but with the model.

    Args:
        outcomes: to save.
        known: ignored; each row is read.
        using: alias of the database.
    """
    for outcome in outcomes:
        save(outcome, using)


def save(outcome: Outcome, using: str) -> None:
    """Save one outcome within a transaction. If only the number of attempts changes, receivers are not called."""
    rows = Task._base_manager.using(using).filter(pk=outcome.id)
    if connections[using].features.has_select_for_update:
        rows = rows.select_for_update()
    task = rows.defer(*ENCODED).first()
    if task is None:
        task = Task(id=outcome.id, attempt_count=outcome.attempt)
        fill(task, outcome)
        task.save(using=using, force_insert=True)
        return
    attempts = max(task.attempt_count, outcome.attempt)
    if task.success or (not outcome.success and task.stopped >= outcome.stopped):
        rows.update(attempt_count=attempts)
        return
    task.attempt_count = attempts
    fill(task, outcome)
    task.save(using=using, force_update=True)


def fill(task: Task, outcome: Outcome) -> None:
    """Set the columns of a task. Pickled values are unpickled only if a receiver reads them."""
    for name in (*PLAIN, *MOMENTS):
        value = getattr(outcome, name)
        setattr(task, name, Encoded(value) if name in ENCODED and value is not None else value)
