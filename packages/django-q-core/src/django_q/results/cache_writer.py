"""Writes outcomes to the cache, and finds out which of them it has taken."""

from __future__ import annotations

from collections import defaultdict
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from django.core.cache import InvalidCacheKey
from django.core.cache.backends.dummy import DummyCache

from django_q.exceptions import ResultsUnavailable, UnreadablePackage
from django_q.log import logger
from django_q.results.groups import CachedGroups, Member
from django_q.results.limits import refused
from django_q.text import error_line, one_line
from django_q.wire.ids import new_id
from django_q.wire.metadata import peek

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.core.cache.backends.base import BaseCache

    from django_q.wire.codec import PackageCodec
    from django_q.wire.outcome import Outcome

TRIES: Final = 5
"""How often a value is written that the cache does not take, though it takes another one before and after."""

PROBE: Final = "?"
"""Begin of a value that is written under the key of one that was not taken. For readers it is no task."""

PROBE_SECONDS: Final = 60
"""How long a probe is kept."""


class CacheWriter:
    """Writes finished tasks, each under a key of its own, and the members of groups.

    Caches may drop a value without an error: clients that ignore errors, values that are too large. So each batch is
    read back.

    Args:
        cache: the cache.
        key: returns the key of a task.
        groups: the groups of the cache.
        codec: of the finished tasks.
    """

    def __init__(self, cache: BaseCache, key: Callable[[str], str], groups: CachedGroups, codec: PackageCodec) -> None:
        self.cache, self.key, self.groups, self.codec = cache, key, groups, codec

    def save_many(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Write a batch; to write it again changes nothing.

        Returns:
            The outcomes as they are saved. One that the cache takes in no form is a failure, and not cached.

        Raises:
            ResultsUnavailable: the cache does not take anything now. Other errors mean the same.
        """
        if type(self.cache) is DummyCache:  # it keeps nothing, on purpose
            return [*outcomes]
        reasons = self._attempt(outcomes)
        saved = [
            outcome if reason is None else self._save_alone(outcome, reason)
            for outcome, reason in zip(outcomes, reasons, strict=True)
        ]
        self._group([outcome for outcome in saved if outcome.group and outcome.cached])
        return saved

    def probe(self, task_id: str) -> None:
        """Find out if the cache keeps values: one that ignores its errors has no other way to tell.

        Args:
            task_id: of a task that is missing, under whose key a value is written.

        Raises:
            ResultsUnavailable: it does not.
        """
        if type(self.cache) is not DummyCache:
            self._takes(self.key(task_id))

    def _save_alone(self, outcome: Outcome, reason: str) -> Outcome:
        """Write an outcome that was not taken; if the cache takes another value instead, a failure."""
        for _ in range(TRIES):
            if not self._takes(self.key(outcome.id), outcome):
                return self._refused(outcome, reason)._replace(cached=False)
            (again,) = self._attempt([outcome])
            if again is None:
                return outcome
            reason = again
        self._takes(self.key(outcome.id), outcome)
        failure = self._refused(outcome, reason)
        if self._attempt([failure]) == [None]:
            return failure
        self._takes(self.key(outcome.id), failure)
        return failure._replace(cached=False)

    def _attempt(self, outcomes: Sequence[Outcome]) -> list[str | None]:
        """Write outcomes, and return why each was not taken; None if it was."""
        reason = "the cache did not keep it"
        try:
            self._write(outcomes)
        except OSError:  # the connection, never the value
            raise
        except Exception as error:  # noqa: BLE001 - each product has its own; what was taken is read now
            reason = error_line(error)
            if isinstance(error, InvalidCacheKey):
                return [reason] * len(outcomes)
        found = self.cache.get_many([self.key(outcome.id) for outcome in outcomes]) or {}
        return [None if self._is_kept(found.get(self.key(each.id)), each) else reason for each in outcomes]

    def _takes(self, key: str, outcome: Outcome | None = None) -> bool:
        """Return True if the cache keeps a small value under a key, False if the key is not valid.

        The value of the key is overwritten, unless it is the outcome, what nothing replaces, or without an outcome any
        task.

        Raises:
            ResultsUnavailable: the cache keeps nothing.
        """
        value = PROBE + new_id()
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
            raise ResultsUnavailable("The cache keeps nothing that is written: check that it runs, and CACHES.")
        return True

    def _is_kept(self, found: Any, outcome: Outcome) -> bool:
        """Return True if the cache has an outcome, or what nothing replaces: a success, or a later failure."""
        if isinstance(found, bytes):
            found = found.decode(errors="replace")
        if found == outcome.finished:
            return True
        kept = self._metadata(found)
        if kept.get("success"):
            return True
        return bool(kept) and not outcome.success and kept.get("attempt_count", 1) > outcome.attempt

    def _metadata(self, finished: Any) -> dict[str, Any]:
        """Read a finished task without its code; one that cannot be read may be replaced."""
        try:
            return peek(self.codec, finished) if is_task(finished) else {}
        except UnreadablePackage:
            return {}

    # writing

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        for timeout, some in _by_timeout(outcomes).items():
            if successes := {self.key(outcome.id): outcome.finished for outcome in some if outcome.success}:
                self.cache.set_many(successes, timeout)
            for outcome in some:
                if not outcome.success:
                    self._write_failure(outcome, timeout)

    def _write_failure(self, outcome: Outcome, timeout: int | None) -> None:
        """Write a failure in place of an earlier one, but never in place of a success or of a later failure."""
        key = self.key(outcome.id)
        if self.cache.add(key, outcome.finished, timeout):
            return
        found = self.cache.get(key)
        if found is None:  # the cache is unavailable, or what was there has expired: reading back will tell
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

    # failures in place of what was not taken

    def _refused(self, outcome: Outcome, reason: str) -> Outcome:
        """Make the failure that is saved in place of an outcome that the cache does not take."""
        size = len(outcome.finished or "")
        logger.error(
            "Task '%s' (%s): the cache does not take its result of %s characters (%s), saved as a failure",
            one_line(outcome.name), outcome.id, f"{size:,}", reason,
        )  # fmt: skip
        why = f"the cache does not take {size:,} characters ({reason}), return a reference instead of the data"
        failure = refused(outcome, why)._replace(group=outcome.group)
        names = ("id", "name", "func", "hook", "group", "cluster", "started", "stopped", "success", "cached")
        finished = {name: value for name in names if (value := getattr(failure, name)) is not None}
        finished |= {"args": (), "kwargs": {}, "result": failure.error, "attempt_count": failure.attempt}
        return failure._replace(finished=self.codec.dumps(finished))


def is_task(found: Any) -> bool:
    """Return True if a value of the cache is a finished task: there is one, and it is no probe."""
    return bool(found) and not (isinstance(found, str) and found.startswith(PROBE))


def _by_timeout(outcomes: Sequence[Outcome]) -> dict[int | None, list[Outcome]]:
    by_timeout: defaultdict[int | None, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_timeout[None if outcome.cached is True else ceil(outcome.cached)].append(outcome)
    return by_timeout
