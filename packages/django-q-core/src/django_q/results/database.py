"""Outcomes → rows of the database, a batch at a time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, connections, router, transaction
from django.db.models import F
from django.db.models.functions import Greatest

from django_q.conf import logger
from django_q.models import Task
from django_q.results.labels import fit, in_ascii, refused
from django_q.results.pruning import Pruner
from django_q.results.rows import changes, insert
from django_q.results.sizes import fit_statement
from django_q.results.unavailable import is_conflict, is_unavailable, is_unsuitable
from django_q.text import error_line, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet

    from django_q.outcome import Outcome
    from django_q.settings import ClusterSettings

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
        """Save a batch, and prune once; to save a batch again changes nothing.

        An outcome that the database cannot hold becomes a failure of its task, and the others are saved.

        Returns:
            The outcomes as they are saved, in order.

        Raises:
            DatabaseError: `is_unavailable`, and nothing was saved: try again later.
        """
        kept = [fit(outcome) for outcome in outcomes if self.keeps(outcome)]
        if not kept:
            return [*outcomes]
        using = router.db_for_write(Task)
        kept = [fit_statement(outcome, connections[using]) for outcome in kept]
        # Where one connection writes at a time, to prune in the same transaction is as exact, and one commit less.
        together = not connections[using].features.has_select_for_update
        try:
            self._save(kept, using, pruning=together)
        except Exception as error:
            if not is_unsuitable(error):
                raise
            kept = self._save_each(kept, using)
            together = False
        if not together:
            self._prune(kept, using)
        saved = iter(kept)
        return [next(saved) if self.keeps(outcome) else outcome for outcome in outcomes]

    def _save(self, kept: Sequence[Outcome], using: str, *, pruning: bool = False) -> None:
        """Save in one transaction.

        New rows are the rule, so the first try takes all for new; a row that exists is found out by the refusal of
        its twin.
        """
        known: set[str] = set()
        for tries in range(1, TRIES + 1):
            try:
                with transaction.atomic(using=using):
                    write(kept, known, using)
                    if pruning:
                        self.pruner.prune(kept, using)
            except DatabaseError as error:
                if tries == TRIES or not is_conflict(error):
                    raise
            else:
                return
            known = existing([outcome.id for outcome in kept], using)
        raise AssertionError("unreachable")

    def _save_each(self, kept: Sequence[Outcome], using: str) -> list[Outcome]:
        """Save one by one, to find out which outcome the database refuses."""
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
        self._save([instead], using)
        return instead

    def _refusal(self, outcome: Outcome, using: str) -> Exception | None:
        """Save an outcome, or return why the database refuses it."""
        try:
            self._save([outcome], using)
        except Exception as error:
            if not is_unsuitable(error):
                raise
            return error
        return None

    def _prune(self, kept: Sequence[Outcome], using: str) -> None:
        """Prune what is saved already: the next batch makes good what fails now."""
        self._tolerantly(lambda: self.pruner.prune(kept, using), using)

    def prune_more(self) -> None:
        """Delete another portion of the successes that are too many, as long as `pruner.more` says so."""
        using = router.db_for_write(Task)
        self._tolerantly(lambda: self.pruner.prune_more(using), using)

    def _tolerantly(self, prune: Callable[[], None], using: str) -> None:
        within = connections[using].in_atomic_block
        for tries in range(1, TRIES + 1):
            try:
                with transaction.atomic(using=using) if within else nullcontext():
                    prune()
            except DatabaseError as error:
                if tries < TRIES and is_conflict(error):
                    continue
                self.pruner.more = False
                logger.warning("Successes beyond save_limit were not deleted, the next batch will: %s", error)
            return


def write(kept: Sequence[Outcome], known: set[str], using: str) -> None:
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
