"""Collates the members of a batch into one outcome, without unpickling them."""

from __future__ import annotations

from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, Final

from django_q.wire.ids import member_id, new_name
from django_q.wire.outcome import Outcome, encode, nested

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django_q.models import Batch, BatchMember
    from django_q.wire.codec import ResultCodec

MAX_ARGUMENT_CHARACTERS: Final = 1_000_000
"""Maximum size of the encoded arguments and results of all members; above it, the arguments are not saved."""


def collate(batch: Batch, members: Sequence[BatchMember], codec: ResultCodec, stopped: datetime) -> Outcome:
    """Return the outcome of a batch. Its result is the list of the members' results, in the order of the arguments.

    Args:
        batch: with its last counters.
        members: the final ones; all others are lost.
        codec: signs the finished task, if it goes to the cache or has a callback.
        stopped: time at which the last member became final.
    """
    ordered = in_order(batch, members)
    size = sum(len(text) for member in members for text in (member.args, member.result) if text)
    args = [nested(member.args) for member in ordered if member is not None]
    result = [lost(index) if member is None else nested(member.result) for index, member in enumerate(ordered)]
    failed = sum(member is None or not member.success for member in ordered)
    whole: dict[str, Any] = {
        "id": batch.pk,
        "name": batch.name or new_name(batch.pk),
        "func": batch.func,
        "hook": batch.callback,
        "args": args if size <= MAX_ARGUMENT_CHARACTERS else [],
        "kwargs": nested(batch.kwargs) if batch.kwargs else {},
        "result": result,
        "group": batch.group,
        "cluster": batch.cluster,
        "started": min((member.started for member in members), default=batch.started),
        "stopped": stopped,
        "success": not failed,
    }
    cached: bool | int = False if batch.cached is None else batch.cached or True
    columns = {name: encode(whole[name]) for name in ("args", "kwargs", "result")}
    finished = {name: value for name, value in whole.items() if value is not None} | {"cached": cached}
    return Outcome(
        **whole | columns,
        ack_failure=True,
        final=True,
        save=batch.keep,
        cached=cached,
        finished=codec.dumps(finished) if cached or batch.callback else None,
        follow_up=batch.callback is not None,
        error=f"{failed} of its {len(ordered)} members failed" if failed else None,
    )


def in_order(batch: Batch, members: Sequence[BatchMember]) -> list[BatchMember | None]:
    """Return members in the order of the arguments, with None for each missing one.

    The public editions gave members random ids, and sent them one after another.
    """
    by_id = {member.task_id: member for member in members}
    ids = [member_id(batch.pk, index) for index in range(batch.total)]
    if by_id.keys() <= set(ids):
        return [by_id.get(each) for each in ids]
    missing = max(batch.total - len(members), 0)
    return [*sorted(members, key=lambda member: member.started), *[None] * missing]


def lost(index: int) -> str:
    """Return the text that replaces the result of a lost member."""
    return f"Lost: the task with the arguments {index} was not finished within batch_timeout."


def seconds(cached: object) -> int | None:
    """Return the column for the option `cached`: seconds, 0 without limit, None if the result is not cached."""
    if cached is True or not isinstance(cached, (int, float)) or not isfinite(cached):
        return 0 if cached else None
    return min(ceil(cached), MAX_SECONDS) or None


MAX_SECONDS: Final = 2**31 - 1
"""Maximum value of the column `cached`."""
