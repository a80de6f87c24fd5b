"""Messages about receivers of signals."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django_q.functions import describe
from django_q.log.events import Message, event
from django_q.log.fields import of_outcome
from django_q.text import error_line, one_line, traceback_of

if TYPE_CHECKING:
    from django_q.wire.outcome import Outcome


@event(logging.ERROR)
def failed(error: BaseException, receiver: object = None, raised: BaseException | None = None) -> Message:
    """Log that a receiver of a signal raised an exception."""
    if receiver is None:
        return Message("A receiver raised %r; the task goes on.", (raised or error,), error=error)
    return Message("Receiver %s raised %r; the task goes on.", (describe(receiver), error), error=error)


@event(logging.ERROR)
def failed_on_saving(outcome: Outcome, error: BaseException) -> Message:
    """Log that a receiver of `pre_save` or `post_save` raised an exception, so that a task is saved without it."""
    text = "Task '%s' (%s): a receiver of pre_save or post_save raised (%s), the task is saved without it\n%s"
    values = one_line(outcome.name), outcome.id, error_line(error), traceback_of(error)
    return Message(text, values, of_outcome(outcome))
