"""Labels and dates of an outcome → what the columns of the database hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django_q.clock import in_project_time
from django_q.models import Task
from django_q.outcome import encode
from django_q.text import ascii_only, truncated

if TYPE_CHECKING:
    from django_q.outcome import Outcome

LENGTHS: Final[dict[str, int]] = {
    field.name: field.max_length
    for field in Task._meta.concrete_fields
    if field.name in {"name", "func", "hook", "group", "cluster"} and field.max_length
}
"""Maximum number of characters of each label: SQLite takes more, but a task must not depend on the database."""


def fit(outcome: Outcome) -> Outcome:
    """Return an outcome whose labels and dates every database can hold; its success and its result stay."""
    started, stopped = in_project_time(outcome.started), in_project_time(outcome.stopped)
    if started is not outcome.started or stopped is not outcome.stopped:
        outcome = outcome._replace(started=started, stopped=stopped)
    if all(is_plain(getattr(outcome, name), length) for name, length in LENGTHS.items()):
        return outcome
    labels = {name: truncated(label, length) for name, length in LENGTHS.items() if (label := getattr(outcome, name))}
    return outcome._replace(**labels)  # type: ignore[arg-type]


def is_plain(label: str | None, length: int) -> bool:
    """Return True if every database can store a label as it is."""
    return label is None or (len(label) <= length and label.isascii() and "\0" not in label)


def refused(outcome: Outcome, why: str) -> Outcome:
    """Return the failure that is saved in place of an outcome that the database does not take.

    A task that returned is not executed again. The failure holds nothing that may have been at fault: no arguments, no
    result, and labels of ASCII characters only.
    """
    what = "returned" if outcome.success else "failed"
    sentence = ascii_only(f"The task {what}, but could not be saved as it is: {why}.")
    failure = outcome._replace(success=False, final=outcome.final or outcome.success, following=())
    return in_ascii(failure._replace(result=encode(sentence), error=sentence, args=None, kwargs=None))


def in_ascii(outcome: Outcome) -> Outcome:
    """Return an outcome whose labels have ASCII characters only: the database may have a smaller character set."""
    labels = {
        name: ascii_only(truncated(label, length))[:length]
        for name, length in LENGTHS.items()
        if (label := getattr(outcome, name))
    }
    return outcome._replace(**labels)  # type: ignore[arg-type]
