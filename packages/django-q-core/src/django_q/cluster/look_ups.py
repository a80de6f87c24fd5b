"""Looks up if a task has succeeded before or is cancelled, within time limits."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.core.cache import caches

from django_q.cluster.earlier_success import saved_success
from django_q.cluster.ipc.state import Phase
from django_q.databases.connections import close_connections
from django_q.databases.errors import is_unavailable
from django_q.exceptions import DjangoQError, ResultsUnavailable, TimeoutException
from django_q.log import messages as log
from django_q.pacing import Backoff
from django_q.records.cancelling import is_cancelled
from django_q.wire.package import is_member

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_q.cluster.ipc.state import ClusterState, Slot
    from django_q.execution.timeout import TaskTimer
    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage

T = TypeVar("T")

MAX_LOOK_UP_SECONDS: Final = 30.0
"""Maximum time to look up an earlier success. Then the package is released, and the worker is replaced."""

CACHE_LOOK_UP_SECONDS: Final = 2.0
"""Maximum time to look up an earlier success in the cache."""

CACHE_PAUSE_SECONDS: Final = 10.0
"""Delay of redelivered tasks that need an unavailable cache. The cache is not used for the same time."""

MIN_LOOK_UP_SECONDS: Final = 1.0
"""Minimum time limit of one look-up, because a server may block without an error."""


class CannotLookUp(DjangoQError):
    """A look-up failed, because the database or the cache is unavailable.

    Args:
        pause: delay before the task is redelivered, in seconds.
    """

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.pause = pause


class LookUps:
    """Look-ups of one worker before it executes a task.

    Args:
        name: name of the worker, for the log.
        settings: settings of the cluster.
        state: shared memory of the cluster.
        slot: slot of the worker. It contains whether a look-up is in progress.
        timer: timer of the worker, which interrupts a look-up.
    """

    def __init__(self, name: str, settings: ClusterSettings, state: ClusterState, slot: Slot, timer: TaskTimer) -> None:
        self.name, self.settings = name, settings
        self.state, self.slot, self.timer = state, slot, timer
        self.cache_retry_at = 0.0
        """Time of the next use of the cache (`time.monotonic`, seconds); 0.0 if it was never unavailable."""

    def is_cancelled(self, package: TaskPackage) -> bool:
        """Return True if a task was cancelled while it waited.

        Raises:
            CannotLookUp: the database stays unavailable, or this worker cannot reach it any more.
        """
        return self._in_database(package, partial(is_cancelled, package))

    def earlier_success(self, package: TaskPackage) -> dict[str, Any] | None:
        """Return the finished package of a redelivered task that has succeeded before; None if it has not.

        Raises:
            CannotLookUp: the server stays unavailable, or this worker cannot reach it any more.
        """
        if package.get("cached") and not is_member(package.get("iter_count"), package.get("group")):
            return self._in_cache(package)
        return self._in_database(package, partial(saved_success, package, self.settings))

    def _in_database(self, package: TaskPackage, read: Callable[[], T]) -> T:
        """Read the database. Wait while it is unavailable.

        Raises:
            CannotLookUp: it stays unavailable, or this worker cannot reach it any more.
        """
        backoff, give_up_at = Backoff(), time.monotonic() + MAX_LOOK_UP_SECONDS
        while True:
            self.slot.begin_look_up()
            try:
                with self.timer.running(max(give_up_at - time.monotonic(), MIN_LOOK_UP_SECONDS)):
                    return read()
            except TimeoutException as error:
                close_connections()
                raise CannotLookUp from error
            except Exception as error:
                if not is_unavailable(error):
                    raise
                if backoff.failed():
                    log.task.look_up_failed(self.name, package, error)
                if time.monotonic() >= give_up_at or self.state.phase >= Phase.STOPPING:
                    raise CannotLookUp from error
                close_connections()
                time.sleep(backoff.seconds)
            finally:
                self.slot.end_look_up()
                self.timer.fired = False

    def _in_cache(self, package: TaskPackage) -> dict[str, Any] | None:
        """Look up an earlier success in the cache. If it is unavailable, the monitor delays the task.

        Raises:
            CannotLookUp: the cache is unavailable.
        """
        if time.monotonic() >= self.cache_retry_at:
            self.slot.begin_look_up()
            try:
                with self.timer.running(CACHE_LOOK_UP_SECONDS, "No answer from the cache"):
                    return saved_success(package, self.settings)
            except (ResultsUnavailable, TimeoutException) as error:
                if not self.cache_retry_at:
                    log.task.look_up_failed(self.name, package, error)
                self.cache_retry_at = time.monotonic() + CACHE_PAUSE_SECONDS
                with suppress(AttributeError):  # this thread has no client
                    del caches[self.settings.cache]  # the client may wait for an answer
            finally:
                self.slot.end_look_up()
                self.timer.fired = False
        raise CannotLookUp(CACHE_PAUSE_SECONDS)
