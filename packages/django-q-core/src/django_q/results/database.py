"""Stores outcomes as `Task` rows, in batches."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, connections, router, transaction
from django.db.models import F
from django.db.models.functions import Greatest

from django_q.databases.errors import is_conflict, is_unsuitable
from django_q.databases.sqlite import has_one_writer, short
from django_q.log import messages as log
from django_q.models import Task
from django_q.results.limits import fit, fit_statement, in_ascii, refused
from django_q.results.pruning import Pruner
from django_q.results.rows import changes, has_receivers, insert, write_with_receivers
from django_q.text import error_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import TypeAlias

    from django.db.models import QuerySet

    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome

    Write: TypeAlias = Callable[[Sequence[Outcome], set[str], str], None]


MAX_TRIES: Final = 5
"""Maximum number of tries of a batch that conflicts with other clusters."""


class DatabaseResults:
    """Stores outcomes as `Task` rows. A later outcome replaces a failure, and nothing replaces a success.

    Args:
        settings: of the cluster.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.pruner = Pruner(settings)

    def keeps(self, outcome: Outcome) -> bool:
        """Return True if an outcome is saved: each failure, and a success if `save`, or else `save_limit`, says so."""
        if not outcome.success:
            return True
        return self.settings.save_limit >= 0 if outcome.save is None else outcome.save

    def save_many(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save a batch. Saving is idempotent.

        An outcome that the database rejects is replaced by a failure, and the others are saved. If the project has
        receivers of `pre_save` or `post_save` of `Task`, outcomes are saved one by one, with the model.

        Returns:
            The outcomes as they are saved, in order.

        Raises:
            django.db.DatabaseError: `is_unavailable`: try again later. On SQLite, some may be saved.
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
        """Delete the successes beyond `save_limit`, after successes were saved."""
        per = self.settings.save_limit_per
        saved = [outcome for outcome in outcomes if outcome.success and self.keeps(outcome)]
        if saved:
            self.prune({getattr(outcome, per) for outcome in saved} if per else None)

    def prune(self, labels: Collection[str | None] | None = None) -> None:
        """Delete the successes beyond `save_limit`, where no maintenance does this. Errors are only logged.

        Args:
            labels: with `save_limit_per`, the groups, names or functions to check; None finds them.
        """
        using = router.db_for_write(Task)
        try:
            with transaction.atomic(using=using) if connections[using].in_atomic_block else nullcontext():
                self.pruner.prune(labels)
        except Exception as error:  # noqa: BLE001 - the outcomes are saved, and pruning is repeated
            log.result.pruning_failed(error)

    def _save(self, kept: Sequence[Outcome], using: str, write: Write | None = None) -> None:
        """Save in one transaction; on SQLite in several, because all other writers wait for the end of each.

        Most rows are new, so the first try inserts all. An existing row causes a conflict.
        """
        for part in short(kept, connections[using]):
            self._save_part(part, using, write or write_many)

    def _save_part(self, kept: Sequence[Outcome], using: str, write: Write) -> None:
        known: set[str] = set()
        for tries in range(1, MAX_TRIES + 1):
            try:
                with transaction.atomic(using=using):
                    write(kept, known, using)
            except DatabaseError as error:
                if tries == MAX_TRIES or not is_conflict(error):
                    raise
            else:
                return
            if len(kept) > 1 and has_one_writer(connections[using]):  # one statement each: short transactions
                for outcome in kept:
                    self._save_part([outcome], using, write)
                return
            known = existing([outcome.id for outcome in kept], using)
        raise AssertionError("unreachable")

    def _save_each(self, kept: Sequence[Outcome], using: str) -> list[Outcome]:
        """Save one by one: to find the outcome that the database rejects, or because the project has receivers."""
        return [self._save_or_replace(outcome, using) for outcome in kept]

    def _save_or_replace(self, outcome: Outcome, using: str) -> Outcome:
        """Save an outcome: unchanged, or with labels of ASCII characters, or else a failure with the reason."""
        error = self._refusal(outcome, using)
        if error is None:
            return outcome
        log.result.rejected_by_database(outcome, error)
        plain = in_ascii(outcome)
        if plain != outcome and self._refusal(plain, using) is None:
            return plain
        instead = refused(outcome, error_line(error))
        self._save_one(instead, using)
        return instead

    def _refusal(self, outcome: Outcome, using: str) -> Exception | None:
        """Save an outcome; return the error if the database rejects it, or else None."""
        try:
            self._save_one(outcome, using)
        except Exception as error:
            if not is_unsuitable(error):
                raise
            return error
        return None

    def _save_one(self, outcome: Outcome, using: str) -> None:
        """Save with receivers, or without them if one raises."""
        if not has_receivers():
            self._save([outcome], using)
            return
        try:
            self._save([outcome], using, write_with_receivers)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - receivers are the project's code
            # Nothing was saved, or everything was and a callback of `on_commit` raised: either can be saved again.
            self._save([outcome], using)
            log.receiver.failed_on_saving(outcome, error)


def write_many(kept: Sequence[Outcome], known: set[str], using: str) -> None:
    """Insert the outcomes of new tasks, and update the rows of known ones.

    Args:
        kept: the outcomes; there may be several of one task.
        known: ids of tasks that have a row.
        using: alias of the database.
    """
    first: dict[str, Outcome] = {}
    again: list[Outcome] = []
    for outcome in kept:
        if outcome.id in known or outcome.id in first:
            again.append(outcome)
        else:
            first[outcome.id] = outcome
    # All clusters use the same order, so that there are no deadlocks. On SQLite, a transaction waits for its lock only
    # if it begins with a write.
    if first:
        insert([first[task_id] for task_id in sorted(first)], using)
    for outcome in sorted(again, key=lambda outcome: outcome.id):
        update_row(outcome, using)


def update_row(outcome: Outcome, using: str) -> None:
    """Update the row of a task with another attempt. A late failure changes only the number of attempts."""
    row = rows(using).filter(pk=outcome.id)
    attempts = Greatest(F("attempt_count"), outcome.attempt)
    failure = row.filter(success=False)
    earlier = failure if outcome.success else failure.filter(stopped__lt=outcome.stopped)
    if not earlier.update(**changes(outcome), attempt_count=attempts) and not row.update(attempt_count=attempts):
        insert([outcome], using)


def existing(ids: Sequence[str], using: str) -> set[str]:
    """Return the ids that have a row."""
    return set(rows(using).filter(pk__in=ids).values_list("pk", flat=True))


def rows(using: str) -> QuerySet[Task]:
    """Return all rows, unordered."""
    return Task._base_manager.using(using).order_by()
