"""Stores outcomes in the cache, for results that are read soon and once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.cache import caches

from django_q.brokers.registry import broker_class
from django_q.caches.calls import CALLS
from django_q.caches.keys import safe_key
from django_q.clock import in_project_time
from django_q.exceptions import MissingPlugin, ResultsUnavailable
from django_q.results.cache_writer import CacheWriter, is_task
from django_q.results.groups import CachedGroups, Member
from django_q.results.waiting import MISSING, Missing
from django_q.wire.codec import ResultCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.core.cache.backends.base import BaseCache

    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome
    from django_q.wire.package import TaskPackage


class CacheResults:
    """Stores finished tasks in the Django cache that the settings name, each under its own key.

    `<list key>:<task id>` is the finished task, signed as a result. Those of the public editions are read, too. A
    key that is invalid for memcached or for this cache is replaced by its hash.

    Args:
        settings: of the cluster.
        list_key: key of the queue; None means that of the settings' broker, whose plugin may be missing.
    """

    def __init__(self, settings: ClusterSettings, list_key: str | None = None) -> None:
        self.settings = settings
        self.list_key = list_key or queue_key(settings)
        self.codec = ResultCodec.of(settings)

    @property
    def cache(self) -> BaseCache:
        """The cache; each thread has its own connection."""
        return caches[self.settings.cache]

    @property
    def groups(self) -> CachedGroups:
        """The groups of this queue."""
        return CachedGroups(self.cache, self.list_key)

    def key(self, task_id: str) -> str:
        """Return the key of a task, or of another entry of the queue."""
        return safe_key(f"{self.list_key}:{task_id}", self.cache)

    # writing

    def save_many(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Save a batch. Saving is idempotent.

        Returns:
            The outcomes as they are saved, in order. An outcome that the cache rejects, for example because it is too
            large, is replaced by a failure. If the cache rejects that, too, its `cached` is False.

        Raises:
            ResultsUnavailable: try again later.
        """
        return self.use(lambda: self._save(outcomes))

    def _save(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        return self._writer().save_many(outcomes)

    def _writer(self) -> CacheWriter:
        return CacheWriter(self.cache, self.key, self.groups, self.codec)

    # reading

    def fetch(self, task_id: str) -> TaskPackage | Missing:
        """Read a finished task.

        Raises:
            ResultsUnavailable: try again later.
            UnreadablePackage: its signature is foreign, or one of its classes cannot be imported.
        """
        found = self.use(lambda: self.cache.get(self.key(task_id)))
        return self.codec.loads(found) if is_task(found) else MISSING

    def look_up(self, task_id: str) -> TaskPackage | Missing:
        """Read a finished task like `fetch`. If it is missing, test first that the cache stores values.

        Raises:
            ResultsUnavailable: try again later.
            UnreadablePackage: as `fetch`.
        """
        found = self.fetch(task_id)
        if found is MISSING:
            self.use(lambda: self._writer().probe(task_id))
            found = self.fetch(task_id)
        return found

    def fetch_group(self, group: str, *, failures: bool = True) -> list[TaskPackage]:
        """Read the finished tasks of a group, in the order in which they were sent."""
        members = [member for member in self.read_members(group) if failures or member.success]
        keys = [self.key(member.id) for member in members]
        found = self.use(lambda: self.cache.get_many(keys)) or {}
        packages = [self.codec.loads(found[key]) for key in keys if is_task(found.get(key))]
        return sorted(packages, key=lambda package: in_project_time(package["started"]))

    def read_members(self, group: str) -> list[Member]:
        """Return the members of a group, including those that a public edition of Django Q has listed."""
        return self.use(lambda: [*self._listed(group), *self.groups.read(group)])

    def has_members(self, group: str, count: int) -> bool:
        """Return True if a group has at least *count* members. While it has fewer, this needs few reads."""
        return self.use(lambda: self.count_at_most(group) >= count and len(self.read_members(group)) >= count)

    def count_at_most(self, group: str) -> int:
        """Return an upper bound for the number of members of a group, with few reads."""
        return self.use(lambda: self.groups.count_at_most(group) + len(self._listed(group)))

    def delete(self, task_id: str) -> bool:
        """Delete a task; return True if it existed."""
        return bool(self.use(lambda: self.cache.delete(self.key(task_id))))

    def delete_group(self, group: str) -> int:
        """Delete a group and its tasks; return the number of its members."""
        members = self.read_members(group)
        keys = [self.key(member.id) for member in members]
        self.use(lambda: self.cache.delete_many([*keys, self.key(f"{group}:keys"), self.key(f"{group}:args")]))
        self.use(lambda: self.groups.delete(group))
        return len(members)

    def _listed(self, group: str) -> list[Member]:
        """Read the list of keys that the public editions keep."""
        found = self.cache.get(self.key(f"{group}:keys"))
        return [Member(key.removeprefix(f"{self.list_key}:"), success=True) for key in found or ()]

    def use(self, work: Callable[[], Any]) -> Any:
        """Use the cache; each product has its own errors for an outage.

        Raises:
            ResultsUnavailable: the cache is unavailable.
        """
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
    """Return the key of the queue of these settings, without a broker: tasks in sync mode need none."""
    try:
        return broker_class(settings).queue_key(settings.list_key)
    except MissingPlugin:
        return settings.list_key
