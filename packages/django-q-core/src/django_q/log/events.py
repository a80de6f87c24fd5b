"""The logger of Django Q, and the events that it logs."""

from __future__ import annotations

import logging
from functools import update_wrapper
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, ParamSpec

from django_q.log.fields import EVENT, Fields

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")

logger: Final = logging.getLogger("django-q")
"""Logger of all messages."""


class Message(NamedTuple):
    """Text and fields of a log record."""

    text: str
    """Text with placeholders of the `%` operator."""
    args: tuple[object, ...] = ()
    """Values of the placeholders."""
    fields: Fields | None = None
    """Fields of the record; None if it has none."""
    error: BaseException | None = None
    """Exception whose traceback is logged."""


class Event(Generic[P]):
    """Kind of log records with a name. A call logs a record.

    Args:
        level: of the records.
        message: returns the message. It is only called if the level is enabled.
    """

    def __init__(self, level: int, message: Callable[P, Message]) -> None:
        self.level = level
        self.message = message
        topic = message.__module__.rpartition(".")[2]
        self.name = f"{topic}.{message.__name__}"
        """Module and name of the function, as in `task.processed`."""
        update_wrapper(self, message)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Log a record, if the level is enabled."""
        if not logger.isEnabledFor(self.level):
            return
        text, values, fields, error = self.message(*args, **kwargs)
        extra = {EVENT: self.name, **(fields or {})}
        logger.log(self.level, text, *values, exc_info=error, extra=extra, stacklevel=2)


def event(level: int) -> Callable[[Callable[P, Message]], Event[P]]:
    """Return a decorator that makes an event of a function which returns a message.

    Args:
        level: of the records.
    """

    def decorate(message: Callable[P, Message]) -> Event[P]:
        return Event(level, message)

    return decorate
