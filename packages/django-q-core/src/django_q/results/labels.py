"""Outcomes that the columns of the database cannot hold → failures that they can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.conf import settings as django_settings
from django.utils import timezone

from django_q.models import Task
from django_q.outcome import encode

if TYPE_CHECKING:
    from datetime import datetime

    from django_q.outcome import Outcome

LENGTHS: Final[dict[str, int]] = {
    field.name: field.max_length
    for field in Task._meta.concrete_fields
    if field.name in {"name", "func", "hook", "group", "cluster"} and field.max_length
}
"""How many letters each label may have: SQLite takes more, but a task must not depend on the database."""


def fit(outcome: Outcome) -> Outcome:
    """Give an outcome that every database can hold: this one, or a failure that says what does not fit."""
    started, stopped = in_project_time(outcome.started), in_project_time(outcome.stopped)
    if started is not outcome.started or stopped is not outcome.stopped:
        outcome = outcome._replace(started=started, stopped=stopped)
    if all(fits(getattr(outcome, name), length) for name, length in LENGTHS.items()):
        return outcome
    return refused(outcome, "; ".join(complaints(outcome)))


def fits(label: str | None, length: int) -> bool:
    """Tell whether a label can be stored."""
    return label is None or (len(label) <= length and (label.isascii() or is_text(label)) and "\0" not in label)


def is_text(label: str) -> bool:
    """Tell whether a label has letters only, not halves of letters."""
    try:
        label.encode()
    except UnicodeEncodeError:
        return False
    return True


def complaints(outcome: Outcome) -> list[str]:
    """Say what does not fit, and what to do about it."""
    said = []
    for name, length in LENGTHS.items():
        label = getattr(outcome, name)
        if fits(label, length):
            continue
        if len(label) > length:
            said.append(f"its {name} has {len(label)} characters and may have {length}: shorten it")
        else:
            said.append(f"its {name} holds a character that no database can store: remove it")
    return said


def refused(outcome: Outcome, why: str) -> Outcome:
    """Give the failure that is saved in place of an outcome that cannot be."""
    what = "returned" if outcome.success else "failed"
    sentence = f"The task {what}, but could not be saved as it is: {why}."
    labels = {name: clip(getattr(outcome, name), length) for name, length in LENGTHS.items()}
    return outcome._replace(success=False, following=(), result=encode(sentence), error=sentence, **labels)


def clip(label: str | None, length: int) -> str | None:
    """Give as much of a label as can be stored."""
    if label is None or fits(label, length):
        return label
    clean = label.replace("\0", "").encode(errors="replace").decode()
    return clean if len(clean) <= length else f"{clean[: length - 1]}…"


def in_project_time(moment: datetime) -> datetime:
    """Give a moment as this project keeps moments: a sender may have another `USE_TZ`."""
    if (moment.tzinfo is not None) == django_settings.USE_TZ:
        return moment
    return timezone.make_aware(moment) if django_settings.USE_TZ else timezone.make_naive(moment)
