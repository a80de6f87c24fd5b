"""Reads and writes the rows of batches and of their members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from django_q.clock import in_project_time
from django_q.databases.errors import is_unsuitable
from django_q.databases.sqlite import has_one_writer, short
from django_q.models import Batch, BatchMember
from django_q.models.batch import LABEL_LENGTH, PATH_LENGTH
from django_q.text import ascii_only, text_of, truncated
from django_q.workflows.collation import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from django.db.models import Model, QuerySet

    from django_q.wire.outcome import Outcome

MAX_STATEMENT_ROWS: Final = 200
"""Maximum number of rows of one INSERT."""

MAX_STATEMENT_CHARACTERS: Final = 1_000_000
"""Maximum size of one INSERT: MySQL and MariaDB close the connection on more than `max_allowed_packet`."""

LABELS: Final = {"name": LABEL_LENGTH, "group": LABEL_LENGTH, "func": PATH_LENGTH, "callback": PATH_LENGTH}
"""Maximum number of characters of each label of a batch."""


class Change(NamedTuple):
    """Changes of the counters of a batch."""

    done: int
    failed: int


def rows(model: type[Model], using: str) -> QuerySet[Any]:
    """Return all rows of a model, unordered."""
    return model._base_manager.using(using).order_by()


def new_batch(
    batch_id: str,
    total: int,
    *,
    func: str,
    cached: object,
    options: Mapping[str, Any],
    started: datetime,
    cluster: str | None,
    queue: str | None,
    due: datetime,
) -> Batch:
    """Return a batch that is not saved.

    Args:
        batch_id: the iter's id.
        total: number of members.
        func: dotted path of their function.
        cached: the option of the collated task.
        options: other options of the collated task: `task_name`, `group`, `save`, `callback`.
        started: when the first member was sent.
        cluster: name of the cluster.
        queue: key of the queue.
        due: when the batch is completed if no member makes progress.
    """
    labels = {"name": options.get("task_name"), "group": options.get("group"), "callback": options.get("callback")}
    labels["func"] = func
    save = options.get("save")
    return Batch(
        id=batch_id,
        total=total,
        cached=seconds(cached),
        keep=None if save is None else bool(save),
        cluster=cluster,
        queue=queue,
        started=in_project_time(started),
        due=due,
        **{name: value and truncated(text_of(value), LABELS[name]) for name, value in labels.items()},
    )


def insert_batches(batches: Sequence[Batch], using: str) -> None:
    """Insert the batches that do not exist. Labels outside of the database's character set are escaped."""
    if not batches:
        return
    try:
        _insert_new(batches, using)
    except Exception as error:
        if not is_unsuitable(error):
            raise
        for batch in batches:
            for name, length in LABELS.items():
                if (label := getattr(batch, name)) is not None:
                    setattr(batch, name, ascii_only(label)[:length])
        _insert_new(batches, using)


def _insert_new(batches: Sequence[Batch], using: str) -> None:
    if connections[using].features.supports_ignore_conflicts:
        with transaction.atomic(using=using):
            rows(Batch, using).bulk_create(batches, ignore_conflicts=True)
        return
    for batch in batches:
        try:
            with transaction.atomic(using=using):
                rows(Batch, using).bulk_create([batch])
        except IntegrityError:
            if not rows(Batch, using).filter(pk=batch.pk).exists():
                raise


def lock(ids: Iterable[str], using: str) -> dict[str, Batch]:
    """Lock batches until the end of the transaction, always in the same order, and return them."""
    found = rows(Batch, using).filter(pk__in=sorted(ids)).defer("kwargs")
    if connections[using].features.has_select_for_update:
        found = found.select_for_update()
    else:  # SQLite has one writer: a transaction waits for its lock only if it begins with a write
        found.update(updated=timezone.now())
    return {batch.pk: batch for batch in found.order_by("pk")}


def load_arguments(batch: Batch, using: str) -> None:
    """Read the column that `lock` defers. Django itself would read it from a replica."""
    if "kwargs" in batch.get_deferred_fields():
        batch.refresh_from_db(using=using, fields=["kwargs"])


def count_members(final: Mapping[str, Mapping[str, Outcome]], using: str) -> dict[str, Change]:
    """Save the final members of locked batches, and return the changes of their counters.

    A member that was saved before is not counted again. A success replaces its failure.

    Args:
        final: outcomes by task id, by batch id.
        using: the database.
    """
    ids = [task_id for members in final.values() for task_id in members]
    known = rows(BatchMember, using).filter(batch_id__in=list(final), task_id__in=ids)
    saved = {(batch_id, task_id): ok for batch_id, task_id, ok in known.values_list("batch_id", "task_id", "success")}
    changes: dict[str, Change] = {}
    new: list[BatchMember] = []
    for batch_id, members in final.items():
        done = failed = 0
        for task_id, outcome in members.items():
            before = saved.get((batch_id, task_id))
            if before is None:
                new.append(new_member(batch_id, outcome))
                done, failed = done + outcome.success, failed + (not outcome.success)
            elif outcome.success and not before:
                replace_failure(batch_id, outcome, using)
                done, failed = done + 1, failed - 1
        changes[batch_id] = Change(done, failed)
    for some in statements(new):
        rows(BatchMember, using).bulk_create(some)
    return changes


def new_member(batch_id: str, outcome: Outcome) -> BatchMember:
    """Return a row for a member; it is not saved."""
    return BatchMember(
        batch_id=batch_id,
        task_id=outcome.id,
        success=outcome.success,
        started=outcome.started,
        args=outcome.args,
        result=outcome.result,
    )


def replace_failure(batch_id: str, success: Outcome, using: str) -> None:
    """Replace the failure of a member by its success."""
    failure = rows(BatchMember, using).filter(batch_id=batch_id, task_id=success.id)
    failure.update(success=True, args=success.args, result=success.result)


def statements(members: Sequence[BatchMember]) -> Iterator[list[BatchMember]]:
    """Split rows into lists, each of which fits into one INSERT."""
    some: list[BatchMember] = []
    characters = 0
    for member in members:
        size = len(member.args or "") + len(member.result or "")
        if some and (len(some) == MAX_STATEMENT_ROWS or characters + size > MAX_STATEMENT_CHARACTERS):
            yield some
            some, characters = [], 0
        some.append(member)
        characters += size
    if some:
        yield some


def forget_members(batch: Batch, using: str) -> None:
    """Delete the members of a delivered batch. If some failed, keep all rows without arguments and results."""
    members = rows(BatchMember, using).filter(batch_id=batch.pk)
    for part in parts(members, using):
        if batch.failed:
            part.update(args=None, result=None)
        else:
            part.delete()


def parts(members: QuerySet[Any], using: str) -> Iterator[QuerySet[Any]]:
    """Split members to change. On SQLite, other writers wait for each statement, so each is short."""
    connection = connections[using]
    if not has_one_writer(connection):
        yield members
        return
    for ids in short(list(members.values_list("pk", flat=True)), connection):
        yield rows(BatchMember, using).filter(pk__in=ids)


def has_succeeded(batch_id: str, task_id: str, using: str) -> bool:
    """Return True if a success of this member is saved."""
    batch = rows(Batch, using).filter(pk=batch_id)
    if batch.exclude(completed=None).filter(failed=0).exists():
        return True
    return rows(BatchMember, using).filter(batch_id=batch_id, task_id=task_id, success=True).exists()


def members_of(batch: Batch, using: str) -> list[BatchMember]:
    """Return the final members of a batch."""
    return list(rows(BatchMember, using).filter(batch_id=batch.pk))
