"""The results of many tasks → one list."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from django_q.conf import current_settings, logger
from django_q.exceptions import UnreadablePackage
from django_q.models import Task
from django_q.options import NO_TIMEOUT
from django_q.outcome import Restated
from django_q.package import TaskPackage, describe, is_id, member_id, new_name, new_package
from django_q.results.cache import CacheResults
from django_q.results.waiting import MISSING
from django_q.results.watchlist import KEPT, PATIENCE, Watchlist

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_q.brokers import Broker
    from django_q.outcome import Outcome

COLLATE: Final = f"{__name__}.collate"
"""The task that a cluster sends itself when all members of an iter have finished."""

LOOK: Final = 5.0
"""Seconds between two looks at iters that are not complete."""

SEARCH: Final = 60.0
"""Seconds between two readings of the list of open iters: of those just sent, and those that a monitor left behind."""

SEARCH_AGAIN: Final = 600.0
"""Seconds until the next such look when the cache is away: where its server does not even refuse, a look takes long."""

MOST_ARGUMENTS: Final = 1_000_000
"""How large the members may be together for their arguments to be kept beside the result."""


@dataclass
class Open:
    """An iter that is not collated."""

    count: int
    said: dict[str, Any] | None = None
    """What its sender has written down of it, as long as no member is known to have finished."""
    due: float = 0
    """From when its members may have been run, as its sender said, in seconds of the epoch."""
    found: int = 0
    tries: int = 0
    """Attempts at its members after which these were to be tried again, when they were last counted."""
    since: float = field(default_factory=time.monotonic)
    """When something was last heard of its members, or the task that collates them was sent."""
    sent: bool = False
    """Whether that task was sent."""

    def is_forgotten(self) -> bool:
        """Whether the list is about to forget an iter of which no member has finished: nobody would look again."""
        return time.time() > self.due + KEPT - PATIENCE


class Queue:
    """How full a queue is at one look: each size is asked for once, and only when somebody wants to know."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    @cached_property
    def nothing_waits(self) -> bool:
        """Whether no package waits; those that are hidden do not count."""
        return not self.broker.queue_size()

    @cached_property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs, as far as the broker can tell."""
        return self.broker.supports_lock_size and self.nothing_waits and not self.broker.lock_size()


class Iters:
    """Sees to it that each iter of the queue is collated, complete or not.

    Args:
        cache: where the members are.
        broker: of the queue in which members wait.
    """

    def __init__(self, cache: CacheResults, broker: Broker) -> None:
        self.cache = cache
        self.broker = broker
        self.watchlist = Watchlist(cache)
        self.open: dict[str, Open] = {}
        self.look_at = self.search_at = 0.0

    def join(self, members: Sequence[Outcome]) -> list[TaskPackage]:
        """Count members that have finished for good; to count one again changes nothing.

        A task whose caller says `iter_count` is none, if its group is not an id.

        Returns:
            The tasks to send, which collate what is complete now.

        Raises:
            ResultsUnavailable: the cache is away: try again later.
        """
        groups: defaultdict[str, list[Outcome]] = defaultdict(list)
        for outcome in members:
            if outcome.group and is_id(outcome.group):
                groups[outcome.group].append(outcome)
        if not groups:
            return []
        self.cache.join(members)
        joined = {iter_id: Open(some[0].iter_count) for iter_id, some in groups.items()}
        complete = [iter_id for iter_id, each in joined.items() if self.cache.has_members(iter_id, each.count)]
        begun = {iter_id for iter_id, each in self.open.items() if each.said is None}
        unknown = joined.keys() - begun - set(complete)
        self.watchlist.begin({iter_id: joined[iter_id].count for iter_id in unknown})
        self.open |= joined
        return [self._collation(iter_id) for iter_id in complete]

    def forget(self, iter_ids: Sequence[str]) -> None:
        """Forget the members of iters whose results are safe.

        Raises:
            ResultsUnavailable: the cache is away: try again later.
        """
        if iter_ids:
            self.watchlist.remove(iter_ids)
        for iter_id in iter_ids:
            self.open.pop(iter_id, None)
            self.cache.delete_group(iter_id)

    def look(self) -> list[TaskPackage]:
        """Look after the iters that make no progress, now and then.

        Returns:
            The tasks to send, which collate what is complete, or will never be.

        Raises:
            ResultsUnavailable: the cache is away.
            BrokerUnavailable: the broker is.
        """
        now = time.monotonic()
        if now >= self.search_at:
            self.search_at = now + SEARCH_AGAIN
            self._search()
            self.search_at = now + SEARCH
        if not self.open or now < self.look_at:
            return []
        self.look_at, queue = now + LOOK, Queue(self.broker)
        return [self._collation(iter_id) for iter_id in list(self.open) if self._is_over(iter_id, queue)]

    def _search(self) -> None:
        """Open the iters whose members may all be lost, and those that a monitor watched which was killed."""
        listed = self.watchlist.read()
        for iter_id, each in listed.items():
            if each.is_due():
                known = self.open.setdefault(iter_id, Open(each.count, each.said, each.due))
                known.said = known.said and each.said
        for iter_id in [iter_id for iter_id, each in self.open.items() if each.said is not None]:
            if iter_id not in listed:  # others have collated it
                del self.open[iter_id]

    def _is_over(self, iter_id: str, queue: Queue) -> bool:
        now, waiting = time.monotonic(), self.open[iter_id]
        # The queue is asked before the cache: what ends in between is found there.
        over = self._is_given_up(waiting, now - waiting.since, queue)
        if waiting.said is not None and not over:
            return False
        found = self.cache.count_at_most(iter_id)
        if not found and not self.watchlist.has(iter_id):  # it is collated
            del self.open[iter_id]
            return False
        if found != waiting.found:
            waiting.found, waiting.since, over = found, now, False
        if not waiting.sent and self.cache.has_members(iter_id, waiting.count):
            return True
        return over and not self._is_tried_again(iter_id, waiting)

    def _is_given_up(self, waiting: Open, quiet: float, queue: Queue) -> bool:
        """Whether nothing more will be heard of an iter's members, unless the cache knows better.

        A member that is offered again after a failure is hidden for `retry` seconds: neither waiting nor leased.
        """
        if quiet <= self.cache.settings.retry + 2 * LOOK + self.broker.sizes_lag:
            return False
        if queue.is_idle:
            return True
        # Members are sent together. When one has finished, the others do not wait behind a backlog of a day.
        if quiet > PATIENCE and (waiting.said is None or queue.nothing_waits):
            return True
        return waiting.said is not None and waiting.is_forgotten()

    def _is_tried_again(self, iter_id: str, waiting: Open) -> bool:
        """Whether there were attempts at its members since the last time: then there is one more, or the last was."""
        if self.cache.settings.max_attempts <= 0:  # the first attempt counts, see `Finisher`
            return False
        tries = self.cache.count_attempts([member_id(iter_id, index) for index in range(waiting.count)])
        if tries == waiting.tries:
            return False
        waiting.tries, waiting.since = tries, time.monotonic()
        return True

    def _collation(self, iter_id: str) -> TaskPackage:
        """Write the task down; the iter stays open until its members are gone."""
        waiting = self.open[iter_id]
        waiting.sent, waiting.since = True, time.monotonic()
        return collation(iter_id, waiting.count, self.cache.list_key, waiting.said and restored(waiting.said))


def collation(iter_id: str, count: int, list_key: str | None, said: Mapping[str, Any] | None = None) -> TaskPackage:
    """Write down the task that collates an iter.

    Args:
        iter_id: its id, which is the task's, too.
        count: how many members it has.
        list_key: of the queue, which begins the keys in the cache.
        said: what a member would say of the iter; for iters without any, and those that may have lost all.
    """
    args = (iter_id, count, list_key, *([dict(said)] if said else []))
    return new_package(COLLATE, args, task_id=iter_id, ack_failure=False, timeout=NO_TIMEOUT)


def collate(iter_id: str, count: int, list_key: str | None, said: Mapping[str, Any] | None = None) -> Restated:
    """Make one result of those of an iter's members, in the order of the arguments."""
    if not count:
        return gather(iter_id, [], 0, said)
    cache = CacheResults(current_settings(), list_key)
    texts = cache.fetch_texts([member.id for member in cache.read_members(iter_id)])
    members, size = read_all(cache, texts), sum(map(len, texts))
    if members and len(members) >= count:
        return gather(iter_id, members, count, size=size)
    if before := collated_before(cache, iter_id):
        return before
    if members or said:
        return gather(iter_id, members, count, None if members else said, size=size)
    return all_gone(cache, iter_id, count)


def plainly(said: Mapping[str, Any]) -> dict[str, Any]:
    """Write what a member says of its iter in values that are read without the code that the member needs.

    Nor is there one that a cache could not keep which writes JSON.
    """
    options = said.get("iter_options", {})
    return {
        "func": describe(said["func"]),
        "started": said["started"].timestamp(),
        "iter_cached": said.get("iter_cached", False),
        "iter_options": {name: bool(value) if name == "save" else str(value) for name, value in options.items()},
    }


def restored(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `plainly` wrote."""
    zone = UTC if timezone.is_aware(timezone.now()) else None
    return dict(plain, started=datetime.fromtimestamp(plain["started"], zone))


def read_all(cache: CacheResults, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Read members; one that cannot be read is lost."""
    members: list[dict[str, Any]] = []
    for text in texts:
        try:
            members.append(cache.codec.loads(text))
        except UnreadablePackage as error:
            logger.error("A member of an iter cannot be read: %s", error)
    return members


def gather(
    iter_id: str,
    members: Sequence[dict[str, Any]],
    count: int,
    said: Mapping[str, Any] | None = None,
    *,
    size: int = 0,
) -> Restated:
    """Collate finished members.

    Args:
        iter_id: of the iter.
        members: finished packages, in any order.
        count: how many there should be.
        said: what a member would say of the iter.
        size: of all the members' packages: with very much, the arguments are not repeated.
    """
    ordered = in_order(iter_id, members, count)
    first: Mapping[str, Any] = said or members[0]
    options = first.get("iter_options") or {}
    failed = sum(member is None or not member["success"] for member in ordered)
    return Restated(
        name=options.get("task_name") or new_name(iter_id),
        func=first["func"],
        args=[member["args"] for member in ordered if member is not None] if size <= MOST_ARGUMENTS else [],
        kwargs=first.get("kwargs") or {},
        result=[lost(index) if member is None else member["result"] for index, member in enumerate(ordered)],
        success=not failed,
        error=f"{failed} of its {len(ordered)} members failed",
        started=min((member["started"] for member in members), default=first["started"]),
        group=options.get("group"),
        save=options.get("save"),
        cached=first.get("iter_cached") or False,
        ack_failure=True,
        gathered=iter_id,
    )


def in_order(iter_id: str, members: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any] | None]:
    """Put members in the order of the arguments, None in the place of one that is not there.

    The public editions gave members ids that say nothing; those were sent one after another.
    """
    by_id = {member["id"]: member for member in members}
    ids = [member_id(iter_id, index) for index in range(count)]
    if by_id.keys() <= set(ids):
        return [by_id.get(each) for each in ids]
    return [*sorted(members, key=lambda member: member["started"])]


def lost(index: int) -> str:
    """What stands in the place of a result that will never come."""
    return f"Lost: the task with the arguments {index} was not finished, and is not in the queue."


def collated_before(cache: CacheResults, iter_id: str) -> Restated | None:
    """Find what this task has done already, if a broker delivers it again."""
    for task in Task.objects.filter(pk=iter_id):
        if isinstance(task.result, list):
            kept = ("name", "func", "args", "kwargs", "result", "success", "started", "stopped", "group")
            return Restated({key: getattr(task, key) for key in kept}, save=True, ack_failure=True, gathered=iter_id)
    found = cache.fetch(iter_id)
    return None if found is MISSING else Restated(found, gathered=iter_id)


def all_gone(cache: CacheResults, iter_id: str, count: int) -> Restated:
    """Say why there is nothing to collate though members have finished."""
    alias = cache.settings.cache
    return Restated(
        success=False,
        ack_failure=True,
        gathered=iter_id,
        result=f"None of the {count} results is in the cache {alias!r} any more ({type(cache.cache).__name__}): iters "
        "need a cache that all processes share, such as Redis, Memcached or the database, and that is large enough.",
    )
