"""Writes outcomes to the cache, and reads back which of them it has stored."""

from __future__ import annotations

from collections import defaultdict
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from django.core.cache import InvalidCacheKey
from django.core.cache.backends.dummy import DummyCache

from django_q.exceptions import ResultsUnavailable, UnreadablePackage
from django_q.log import messages as log
from django_q.results.groups import CachedGroups, Member
from django_q.results.limits import refused
from django_q.text import error_line
from django_q.wire.ids import new_id
from django_q.wire.metadata import peek

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.core.cache.backends.base import BaseCache

    from django_q.wire.codec import ResultCodec
    from django_q.wire.outcome import Outcome

MAX_TRIES: Final = 5
"""Maximum number of writes of a value that the cache drops, while it stores another one before and after."""

PROBE_PREFIX: Final = "?"
"""Prefix of a probe, which is written under the key of a dropped value. Readers do not take it for a task."""

PROBE_SECONDS: Final = 60
"""Time to live of a probe."""


class CacheWriter:
    """Writes finished tasks, each under its own key, and the members of groups.

    A cache may drop a value without an error: its client ignores errors, or the value is too large. Therefore each
    batch is read back.

    Args:
        cache: the cache.
        key: returns the key of a task.
        groups: the groups of the cache.
        codec: of the finished tasks.
    """

    def __init__(self, cache: BaseCache, key: Callable[[str], str], groups: CachedGroups, codec: ResultCodec) -> None:
        self.cache, self.key, self.groups, self.codec = cache, key, groups, codec

    def save_many(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Write a batch. Writing is idempotent.

        Returns:
            The outcomes as they are saved. One that the cache rejects in any form is a failure whose `cached` is False.

        Raises:
            ResultsUnavailable: the cache stores nothing now. Other errors mean the same.
        """
        if type(self.cache) is DummyCache:  # it stores nothing, on purpose
            return [*outcomes]
        reasons = self._attempt(outcomes)
        saved = [
            outcome if reason is None else self._save_alone(outcome, reason)
            for outcome, reason in zip(outcomes, reasons, strict=True)
        ]
        self._group([outcome for outcome in saved if outcome.group and outcome.cached])
        return saved

    def probe(self, task_id: str) -> None:
        """Test that the cache stores values, because a client that ignores errors hides an outage.

        Args:
            task_id: id of a missing task. A value is written under its key.

        Raises:
            ResultsUnavailable: the cache stores nothing.
        """
        if type(self.cache) is not DummyCache:
            self._stores(self.key(task_id))

    def _save_alone(self, outcome: Outcome, reason: str) -> Outcome:
        """Write an outcome that was dropped again; if the cache stores only other values, write a failure."""
        for _ in range(MAX_TRIES):
            if not self._stores(self.key(outcome.id), outcome):
                return self._refused(outcome, reason)._replace(cached=False)
            (again,) = self._attempt([outcome])
            if again is None:
                return outcome
            reason = again
        self._stores(self.key(outcome.id), outcome)
        failure = self._refused(outcome, reason)
        if self._attempt([failure]) == [None]:
            return failure
        self._stores(self.key(outcome.id), failure)
        return failure._replace(cached=False)

    def _attempt(self, outcomes: Sequence[Outcome]) -> list[str | None]:
        """Write outcomes; return the reason for each that was not stored, and None for each that was."""
        reason = "the cache did not keep it"
        try:
            self._write(outcomes)
        except OSError:  # it is about the connection, never about the value
            raise
        except Exception as error:  # noqa: BLE001 - each product has its own errors; stored values are read back
            reason = error_line(error)
            if isinstance(error, InvalidCacheKey):
                return [reason] * len(outcomes)
        found = self.cache.get_many([self.key(outcome.id) for outcome in outcomes]) or {}
        return [None if self._is_kept(found.get(self.key(each.id)), each) else reason for each in outcomes]

    def _stores(self, key: str, outcome: Outcome | None = None) -> bool:
        """Test that the cache stores a small value under a key; return False if the key is invalid.

        The value of the key is overwritten. A value that must stay is not: the outcome, a success, or a later failure;
        without an outcome, any task.

        Raises:
            ResultsUnavailable: the cache stores nothing.
        """
        value = PROBE_PREFIX + new_id()
        try:
            if not self.cache.add(key, value, PROBE_SECONDS):
                found = self.cache.get(key)
                if found is not None:
                    if is_task(found) if outcome is None else self._is_kept(found, outcome):
                        return True
                    self.cache.set(key, value, PROBE_SECONDS)
            found = self.cache.get(key)
        except InvalidCacheKey:
            return False
        if found != value:
            raise ResultsUnavailable("The cache stores no values: check that it runs, and CACHES.")
        return True

    def _is_kept(self, found: Any, outcome: Outcome) -> bool:
        """Return True if the cache has this outcome, or one that must stay: a success, or a later failure."""
        if isinstance(found, bytes):
            found = found.decode(errors="replace")
        if found == outcome.finished:
            return True
        kept = self._metadata(found)
        if kept.get("success"):
            return True
        return bool(kept) and not outcome.success and kept.get("attempt_count", 1) > outcome.attempt

    def _metadata(self, finished: Any) -> dict[str, Any]:
        """Return the metadata of a finished task; of an unreadable one, which may be replaced, an empty dict."""
        try:
            kept = peek(self.codec, finished) if is_task(finished) else {}
        except UnreadablePackage:
            return {}
        return kept if "success" in kept else {}  # a package that was copied to the cache has none

    # writing

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        for timeout, some in _by_timeout(outcomes).items():
            if successes := {self.key(outcome.id): outcome.finished for outcome in some if outcome.success}:
                self.cache.set_many(successes, timeout)
            for outcome in some:
                if not outcome.success:
                    self._write_failure(outcome, timeout)

    def _write_failure(self, outcome: Outcome, timeout: int | None) -> None:
        """Write a failure, unless the cache has a success or a later failure of the task."""
        key = self.key(outcome.id)
        if self.cache.add(key, outcome.finished, timeout):
            return
        found = self.cache.get(key)
        if found is None:  # the cache is unavailable, or the value has expired: `_attempt` reads it back
            return
        kept = self._metadata(found)
        if not kept.get("success") and kept.get("attempt_count", 1) <= outcome.attempt:
            self.cache.set(key, outcome.finished, timeout)

    def _group(self, outcomes: Sequence[Outcome]) -> None:
        for timeout, some in _by_timeout(outcomes).items():
            groups: defaultdict[str, list[Member]] = defaultdict(list)
            for outcome in some:
                groups[outcome.group or ""].append(Member(outcome.id, outcome.success))
            self.groups.add(groups, timeout)

    # failures that replace dropped outcomes

    def _refused(self, outcome: Outcome, reason: str) -> Outcome:
        """Build the failure that replaces an outcome which the cache rejects."""
        size = len(outcome.finished or "")
        log.result.rejected_by_cache(outcome, size, reason)
        why = f"the cache rejects {size:,} characters ({reason}), return a reference instead of the data"
        failure = refused(outcome, why)._replace(group=outcome.group)
        names = ("id", "name", "func", "hook", "group", "cluster", "started", "stopped", "success", "cached")
        finished = {name: value for name in names if (value := getattr(failure, name)) is not None}
        finished |= {"args": (), "kwargs": {}, "result": failure.error, "attempt_count": failure.attempt}
        return failure._replace(finished=self.codec.dumps(finished))


def is_task(found: Any) -> bool:
    """Return True if a value of the cache is a finished task, and not empty or a probe."""
    return bool(found) and not (isinstance(found, str) and found.startswith(PROBE_PREFIX))


def _by_timeout(outcomes: Sequence[Outcome]) -> dict[int | None, list[Outcome]]:
    by_timeout: defaultdict[int | None, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_timeout[None if outcome.cached is True else ceil(outcome.cached)].append(outcome)
    return by_timeout
