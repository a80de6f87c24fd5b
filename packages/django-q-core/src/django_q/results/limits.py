"""Fits outcomes into the columns and the statements of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_q.clock import in_project_time
from django_q.databases.limits import exceeded_limit
from django_q.models import Task
from django_q.text import ascii_only, truncated
from django_q.wire.outcome import encode

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from django_q.wire.outcome import Outcome

LENGTHS: Final[dict[str, int]] = {
    field.name: field.max_length
    for field in Task._meta.concrete_fields
    if field.name in {"name", "func", "hook", "group", "cluster"} and field.max_length
}
"""Maximum number of characters of each label. SQLite allows more, but tasks must not depend on the database."""


def fit(outcome: Outcome) -> Outcome:
    """Return an outcome with labels and dates that each database can store; success and result do not change."""
    started, stopped = in_project_time(outcome.started), in_project_time(outcome.stopped)
    if started is not outcome.started or stopped is not outcome.stopped:
        outcome = outcome._replace(started=started, stopped=stopped)
    if all(is_plain(getattr(outcome, name), length) for name, length in LENGTHS.items()):
        return outcome
    labels = {name: truncated(label, length) for name, length in LENGTHS.items() if (label := getattr(outcome, name))}
    return outcome._replace(**labels)  # type: ignore[arg-type]


def is_plain(label: str | None, length: int) -> bool:
    """Return True if each database can store a label unchanged."""
    return label is None or (len(label) <= length and label.isascii() and "\0" not in label)


def refused(outcome: Outcome, why: str) -> Outcome:
    """Return the failure that replaces an outcome which the database rejects.

    A task that returned is not executed again. The failure has none of the values that may be the cause: no arguments,
    no result, and labels of ASCII characters only.

    Args:
        outcome: the rejected outcome.
        why: the reason, as a part of a sentence.
    """
    what = "returned" if outcome.success else "failed"
    sentence = ascii_only(f"The task {what}, but could not be saved as it is: {why}.")
    failure = outcome._replace(success=False, final=outcome.final or outcome.success, following=())
    return in_ascii(failure._replace(result=encode(sentence), error=sentence, args=None, kwargs=None))


def in_ascii(outcome: Outcome) -> Outcome:
    """Return an outcome whose labels have ASCII characters only, for databases with a smaller character set."""
    labels = {
        name: ascii_only(truncated(label, length))[:length]
        for name, length in LENGTHS.items()
        if (label := getattr(outcome, name))
    }
    return outcome._replace(**labels)  # type: ignore[arg-type]


def fit_statement(outcome: Outcome, connection: BaseDatabaseWrapper) -> Outcome:
    """Return an outcome that fits into one statement: this one, or a failure with the reason."""
    size = sum(len(text) for text in (outcome.args, outcome.kwargs, outcome.result) if text)
    if (limit := exceeded_limit(size, connection)) is None:
        return outcome
    why = (
        f"its arguments and result are {size:,} bytes long and the server's max_allowed_packet is {limit:,}: return a "
        "reference instead of the data, or raise max_allowed_packet"
    )
    return refused(outcome, why)
