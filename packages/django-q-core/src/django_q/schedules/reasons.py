"""Formats the reason why a schedule was not sent, as one line that each database can store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_q.exceptions import DjangoQError
from django_q.text import error_line

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CAUSES: Final = 3
"""Maximum number of causes in one reason."""


class RollBack(Exception):
    """A part of the transaction failed, so it must be rolled back."""


def reason_of(error: BaseException) -> str:
    """Return an error as one line, with the causes of Django Q's own errors.

    Args:
        error: any exception; its text is not trusted.
    """
    first, *causes = [error_line(each) for each in chain_of(error)]
    return ", caused by ".join([first, *(line for line in causes if (line.partition(": ")[2] or line) not in first)])


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and its causes as long as the error is one of Django Q."""
    while isinstance(error, RollBack) and error.__cause__ is not None:
        error = error.__cause__
    yield error
    for _ in range(MAX_CAUSES):
        if not isinstance(error, DjangoQError) or error.__cause__ is None:
            return
        error = error.__cause__
        yield error
