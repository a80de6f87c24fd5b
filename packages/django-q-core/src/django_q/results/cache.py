"""Outcomes → the cache: for results that are asked for soon, and then not again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.core.cache import caches

from django_q.brokers.registry import broker_class
from django_q.caches.calls import CALLS
from django_q.caches.keys import safe_key
from django_q.clock import in_project_time
from django_q.exceptions import MissingPlugin, ResultsUnavailable
from django_q.results.cache_writer import CacheWriter, is_task
from django_q.results.groups import CachedGroups, Member
from django_q.results.waiting import MISSING, Missing
from django_q.wire.codec import PackageCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.core.cache.backends.base import BaseCache

    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome
    from django_q.wire.package import TaskPackage


class CacheResults:
    """Keeps finished tasks in the Django cache that the settings name, each under a key of its own.

    `<list key>:<task id>` is the signed task, as every edition of Django Q writes it. Groups are in `groups`. A key
    that memcached, or this cache, would not take is replaced by its hash.

    Args:
        settings: of the cluster.
        list_key: the queue's key; None means that of the settings' broker, which need not be there.
    """

    def __init__(self, settings: ClusterSettings, list_key: str | None = None) -> None:
        self.settings = settings
        self.list_key = list_key or queue_key(settings)
        self.codec = PackageCodec.of(settings)

    @property
    def cache(self) -> BaseCache:
        """The cache, one connection a thread."""
        return caches[self.settings.cache]

    @property
    def groups(self) -> CachedGroups:
        """The groups."""
        return CachedGroups(self.cache, self.list_key)

    def key(self, task_id: str) -> str:
        """The key of a task, or of another entry of the queue."""
        return safe_key(f"{self.list_key}:{task_id}", self.cache)

    # writing

    def save_many(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save a batch; to save it again changes nothing.

        Returns:
            The outcomes as they are saved, in order. One whose value the cache does not take, such as one that is too
            large, is a failure. If the cache does not take that either, the failure is not cached.

        Raises:
            ResultsUnavailable: try again later.
        """
        return self.at_work(lambda: self._save(outcomes))

    def _save(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        return self._writer().save_many(outcomes)

    def _writer(self) -> CacheWriter:
        return CacheWriter(self.cache, self.key, self.groups, self.codec)

    # reading

    def fetch(self, task_id: str) -> TaskPackage | Missing:
        """Read a finished task.

        Raises:
            UnreadablePackage: somebody else signed it, or its code is gone.
        """
        found = self.at_work(lambda: self.cache.get(self.key(task_id)))
        return cast("TaskPackage", self.codec.loads(found)) if is_task(found) else MISSING

    def look_up(self, task_id: str) -> TaskPackage | Missing:
        """Read a finished task as `fetch` does, and believe that it is missing only a cache that keeps values.

        Raises:
            ResultsUnavailable: try again later.
            UnreadablePackage: as `fetch`.
        """
        found = self.fetch(task_id)
        if found is MISSING:
            self.at_work(lambda: self._writer().probe(task_id))
            found = self.fetch(task_id)
        return found

    def fetch_group(self, group: str, *, failures: bool = True) -> list[TaskPackage]:
        """Read the finished tasks of a group, in the order in which they were sent."""
        members = [member for member in self.read_members(group) if failures or member.success]
        keys = [self.key(member.id) for member in members]
        found = self.at_work(lambda: self.cache.get_many(keys)) or {}
        packages = [self.codec.loads(found[key]) for key in keys if is_task(found.get(key))]
        return sorted(packages, key=lambda package: in_project_time(package["started"]))

    def read_members(self, group: str) -> list[Member]:
        """Give the members of a group, those too that a public edition of Django Q has listed."""
        return self.at_work(lambda: [*self._listed(group), *self.groups.read(group)])

    def has_members(self, group: str, count: int) -> bool:
        """Tell whether a group has at least *count* members, and tell it quickly as long as it has not."""
        return self.at_work(lambda: self.count_at_most(group) >= count and len(self.read_members(group)) >= count)

    def count_at_most(self, group: str) -> int:
        """Give a number that the group's members do not exceed, at the cost of a few reads."""
        return self.at_work(lambda: self.groups.count_at_most(group) + len(self._listed(group)))

    def delete(self, task_id: str) -> bool:
        """Forget a task."""
        return bool(self.at_work(lambda: self.cache.delete(self.key(task_id))))

    def delete_group(self, group: str) -> int:
        """Forget a group with its tasks, and give how many they were."""
        members = self.read_members(group)
        keys = [self.key(member.id) for member in members]
        self.at_work(lambda: self.cache.delete_many([*keys, self.key(f"{group}:keys"), self.key(f"{group}:args")]))
        self.at_work(lambda: self.groups.delete(group))
        return len(members)

    def _listed(self, group: str) -> list[Member]:
        """Read the list of keys that the public editions keep."""
        found = self.cache.get(self.key(f"{group}:keys"))
        return [Member(key.removeprefix(f"{self.list_key}:"), success=True) for key in found or ()]

    def at_work(self, work: Callable[[], Any]) -> Any:
        """Do something with the cache; each product has errors of its own for being away."""
        try:
            return CALLS.make(work)
        except ResultsUnavailable:
            raise
        except Exception as error:
            raise ResultsUnavailable(
                f"The cache {self.settings.cache!r} cannot be used ({type(error).__name__}: {error}): check that it "
                "runs, and CACHES."
            ) from error


def queue_key(settings: ClusterSettings) -> str:
    """What the broker of these settings calls the queue, without asking it; tasks in sync mode need no broker."""
    try:
        return broker_class(settings).queue_key(settings.list_key)
    except MissingPlugin:
        return settings.list_key
