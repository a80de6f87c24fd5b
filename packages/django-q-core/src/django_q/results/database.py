"""Outcomes → rows of the database, a batch at a time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, connections, router, transaction
from django.db.models import F
from django.db.models.functions import Greatest

from django_q.databases.errors import is_conflict, is_unavailable, is_unsuitable
from django_q.databases.sqlite import short, takes_turns
from django_q.log import logger
from django_q.models import Task
from django_q.results.limits import fit, fit_statement, in_ascii, refused
from django_q.results.pruning import Pruner
from django_q.results.receivers import has_receivers, write_with_receivers
from django_q.results.rows import changes, insert
from django_q.text import error_line, one_line, traceback_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import TypeAlias

    from django.db.models import QuerySet

    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome

    Write: TypeAlias = Callable[[Sequence[Outcome], set[str], str], None]

__all__ = ["DatabaseResults", "is_unavailable"]

TRIES: Final = 5
"""How often a batch is tried that other clusters are in the way of."""


class DatabaseResults:
    """Keeps outcomes as `Task` rows: a later success replaces a failure, and nothing replaces a success."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.pruner = Pruner(settings)

    def keeps(self, outcome: Outcome) -> bool:
        """Tell whether an outcome is saved: every failure is, a success where `save` or else `save_limit` says so."""
        if not outcome.success:
            return True
        return self.settings.save_limit >= 0 if outcome.save is None else outcome.save

    def save_many(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save a batch; saving it again changes nothing.

        An outcome that the database cannot hold becomes a failure of its task, and the others are saved. If the project
        has receivers of `pre_save` or `post_save` of `Task`, outcomes are saved one by one, with the model.

        Returns:
            The outcomes as they are saved, in order.

        Raises:
            DatabaseError: `is_unavailable`: try again later; on SQLite, some may be saved.
        """
        kept = [fit(outcome) for outcome in outcomes if self.keeps(outcome)]
        if not kept:
            return [*outcomes]
        using = router.db_for_write(Task)
        kept = [fit_statement(outcome, connections[using]) for outcome in kept]
        if has_receivers():
            kept = self._save_each(kept, using)
        else:
            try:
                self._save(kept, using)
            except Exception as error:
                if not is_unsuitable(error):
                    raise
                kept = self._save_each(kept, using)
        saved = iter(kept)
        return [next(saved) if self.keeps(outcome) else outcome for outcome in outcomes]

    def prune_after(self, outcomes: Sequence[Outcome]) -> None:
        """Delete the successes beyond `save_limit` after some were saved."""
        per = self.settings.save_limit_per
        saved = [outcome for outcome in outcomes if outcome.success and self.keeps(outcome)]
        if saved:
            self.prune({getattr(outcome, per) for outcome in saved} if per else None)

    def prune(self, labels: Collection[str | None] | None = None) -> None:
        """Delete the successes beyond `save_limit` where no maintenance follows; an error is only logged.

        Args:
            labels: with `save_limit_per`, the groups, names or functions to look at; None finds them.
        """
        using = router.db_for_write(Task)
        try:
            with transaction.atomic(using=using) if connections[using].in_atomic_block else nullcontext():
                self.pruner.prune(labels)
        except Exception as error:  # noqa: BLE001 - what was saved is safe, whatever is wrong with pruning
            logger.warning("Successes beyond save_limit were not deleted (%s), the next task will", error_line(error))

    def _save(self, kept: Sequence[Outcome], using: str, write: Write | None = None) -> None:
        """Save in one transaction; on SQLite in several, because all other writers wait for the end of each.

        Most rows are new, so the first try assumes that all are; a row that exists causes a conflict.
        """
        for part in short(kept, connections[using]):
            self._save_part(part, using, write or write_many)

    def _save_part(self, kept: Sequence[Outcome], using: str, write: Write) -> None:
        known: set[str] = set()
        for tries in range(1, TRIES + 1):
            try:
                with transaction.atomic(using=using):
                    write(kept, known, using)
            except DatabaseError as error:
                if tries == TRIES or not is_conflict(error):
                    raise
            else:
                return
            if len(kept) > 1 and takes_turns(connections[using]):  # a statement for each, which takes longer
                for outcome in kept:
                    self._save_part([outcome], using, write)
                return
            known = existing([outcome.id for outcome in kept], using)
        raise AssertionError("unreachable")

    def _save_each(self, kept: Sequence[Outcome], using: str) -> list[Outcome]:
        """Save one by one: to find out which outcome the database refuses, or because the project has receivers."""
        return [self._save_somehow(outcome, using) for outcome in kept]

    def _save_somehow(self, outcome: Outcome, using: str) -> Outcome:
        """Save an outcome as it is; or with labels of ASCII characters; or else a failure that says why."""
        error = self._refusal(outcome, using)
        if error is None:
            return outcome
        logger.error("Task '%s' (%s) cannot be saved: %s", one_line(outcome.name), outcome.id, one_line(error))
        plain = in_ascii(outcome)
        if plain != outcome and self._refusal(plain, using) is None:
            return plain
        instead = refused(outcome, error_line(error))
        self._save_one(instead, using)
        return instead

    def _refusal(self, outcome: Outcome, using: str) -> Exception | None:
        """Save an outcome, or return why the database refuses it."""
        try:
            self._save_one(outcome, using)
        except Exception as error:
            if not is_unsuitable(error):
                raise
            return error
        return None

    def _save_one(self, outcome: Outcome, using: str) -> None:
        """Save with receivers; without them if one raises."""
        if not has_receivers():
            self._save([outcome], using)
            return
        try:
            self._save([outcome], using, write_with_receivers)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - receivers are the project's code
            # Nothing was saved, or everything was and a callback of `on_commit` raised: either can be saved again.
            self._save([outcome], using)
            logger.error(
                "Task '%s' (%s): a receiver of pre_save or post_save raised (%s), the task is saved without it\n%s",
                one_line(outcome.name), outcome.id, error_line(error), traceback_of(error),
            )  # fmt: skip


def write_many(kept: Sequence[Outcome], known: set[str], using: str) -> None:
    """Write outcomes.

    Args:
        kept: what to write; a task may come twice.
        known: the ids that have a row.
        using: the database.
    """
    first: dict[str, Outcome] = {}
    again: list[Outcome] = []
    for outcome in kept:
        if outcome.id in known or outcome.id in first:
            again.append(outcome)
        else:
            first[outcome.id] = outcome
    # In the same order in every cluster, so that two of them do not wait for each other. A transaction that begins by
    # writing waits for its turn on SQLite too.
    if first:
        insert([first[task_id] for task_id in sorted(first)], using)
    for outcome in sorted(again, key=lambda outcome: outcome.id):
        revise(outcome, using)


def revise(outcome: Outcome, using: str) -> None:
    """Write another attempt into the row of its task: a late failure changes nothing but the number of attempts."""
    row = rows(using).filter(pk=outcome.id)
    attempts = Greatest(F("attempt_count"), outcome.attempt)
    failure = row.filter(success=False)
    earlier = failure if outcome.success else failure.filter(stopped__lt=outcome.stopped)
    if not earlier.update(**changes(outcome), attempt_count=attempts) and not row.update(attempt_count=attempts):
        insert([outcome], using)


def existing(ids: Sequence[str], using: str) -> set[str]:
    """Find the ids that have a row."""
    return set(rows(using).filter(pk__in=ids).values_list("pk", flat=True))


def rows(using: str) -> QuerySet[Task]:
    """Give all rows, in no order."""
    return Task._base_manager.using(using).order_by()
