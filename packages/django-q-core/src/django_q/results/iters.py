"""The results of many tasks → one list."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from django_q.conf import current_settings, logger
from django_q.exceptions import UnreadablePackage
from django_q.models import Task
from django_q.outcome import Restated
from django_q.package import TaskPackage, is_id, member_id, new_name, new_package
from django_q.results.cache import CacheResults
from django_q.results.waiting import MISSING
from django_q.results.watchlist import Watchlist
from django_q.timeout import NO_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_q.brokers import Broker
    from django_q.outcome import Outcome

COLLATE: Final = f"{__name__}.collate"
"""The task that a cluster sends itself when all members of an iter have finished."""

LOOK: Final = 5.0
"""Seconds between two looks at iters that are not complete."""

SEARCH: Final = 60.0
"""Seconds between two looks for iters that a monitor left behind, here or in another cluster of the queue."""

SEARCH_AGAIN: Final = 600.0
"""Seconds until the next such look when the cache is away: where its server does not even refuse, a look takes long."""

MOST_ARGUMENTS: Final = 1_000_000
"""How large the members may be together for their arguments to be kept beside the result."""

PATIENCE: Final = 24 * 3600.0
"""Seconds without a result after which an iter is collated as it is, where the queue does not tell that it is empty."""


@dataclass
class Open:
    """An iter of which some members have finished."""

    count: int
    found: int = 0
    since: float = field(default_factory=time.monotonic)
    """When the last of them did, or the task that collates them was sent."""
    sent: bool = False
    """Whether that task was sent."""


class Iters:
    """Sees to it that each iter whose members finish here is collated, complete or not.

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
        unknown = joined.keys() - self.open.keys() - set(complete)
        self.watchlist.add({iter_id: joined[iter_id].count for iter_id in unknown})
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
        self.look_at = now + LOOK
        return [self._collation(iter_id) for iter_id in list(self.open) if self._is_over(iter_id)]

    def _search(self) -> None:
        """Open the iters of a monitor that was killed, or whose cluster is gone."""
        for iter_id, count in self.watchlist.read().items():
            self.open.setdefault(iter_id, Open(count))

    def _is_over(self, iter_id: str) -> bool:
        now, waiting = time.monotonic(), self.open[iter_id]
        found = self.cache.count_at_most(iter_id)
        if not found and not self.watchlist.has(iter_id):  # it is collated
            del self.open[iter_id]
            return False
        if found != waiting.found:
            waiting.found, waiting.since = found, now
        if not waiting.sent and self.cache.has_members(iter_id, waiting.count):
            return True
        # A member that is offered again after a failure is hidden for `retry` seconds: neither waiting nor leased.
        quiet = now - waiting.since
        return quiet > PATIENCE or (quiet > self.cache.settings.retry + 2 * LOOK and self._nothing_waits())

    def _nothing_waits(self) -> bool:
        broker = self.broker
        return broker.supports_lock_size and not broker.queue_size() and not broker.lock_size()

    def _collation(self, iter_id: str) -> TaskPackage:
        """Write the task down; the iter stays open until its members are gone."""
        waiting = self.open[iter_id]
        waiting.sent, waiting.since = True, time.monotonic()
        return collation(iter_id, waiting.count, self.cache.list_key)


def collation(iter_id: str, count: int, list_key: str | None, said: Mapping[str, Any] | None = None) -> TaskPackage:
    """Write down the task that collates an iter.

    Args:
        iter_id: its id, which is the task's, too.
        count: how many members it has.
        list_key: of the queue, which begins the keys in the cache.
        said: what a member would say of the iter; for iters without any.
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
    return gather(iter_id, members, count, size=size) if members else all_lost(cache, iter_id, count)


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


def all_lost(cache: CacheResults, iter_id: str, count: int) -> Restated:
    """Say why there is nothing to collate."""
    alias = cache.settings.cache
    return Restated(
        success=False,
        ack_failure=True,
        gathered=iter_id,
        result=f"None of the {count} results is in the cache {alias!r} any more ({type(cache.cache).__name__}): iters "
        "need a cache that all processes share, such as Redis, Memcached or the database, and that is large enough.",
    )
