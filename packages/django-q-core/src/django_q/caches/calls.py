"""Calls to a cache that may not answer, made so that the calling process goes on."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import close_old_connections

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

CALL_TIMEOUT_SECONDS: Final = 5.0
"""How long to wait for a cache."""

PROBE_SECONDS: Final = 0.5
"""How long to wait for a cache that has not answered an earlier call yet."""

MAX_PAUSE_SECONDS: Final = 600.0
"""Maximum time between two threads that try a cache which does not answer."""


class CacheCalls:
    """Makes calls to the cache, in a thread of their own once `limit` was called.

    Most clients of caches have no timeout by default, and a connection that is cut silently never answers. A thread
    that gets no answer is left behind: another one, with a connection of its own, tries again, later and later.

    Args:
        probe: seconds to wait while an earlier call has not returned.
    """

    def __init__(self, probe: float = PROBE_SECONDS) -> None:
        self.probe, self.patience = probe, CALL_TIMEOUT_SECONDS
        self.limited = False
        self.stuck: list[Caller] = []
        self.caller: Caller | None = None
        self.resume_at = 0.0
        """When the next thread tries (`time.monotonic`, seconds) while others are stuck."""

    def limit(self, patience: float = CALL_TIMEOUT_SECONDS) -> None:
        """Limit all later calls in this process, which must not share an open transaction with the cache.

        Args:
            patience: seconds to wait for a call.
        """
        self.limited, self.patience = True, patience

    def make(self, call: Callable[[], T]) -> T:
        """Make a call and return what it returns.

        Raises:
            TimeoutError: the cache does not answer; the call may still be carried out.
        """
        if not self.limited or isinstance(threading.current_thread(), Caller):
            return call()
        self.stuck = [caller for caller in self.stuck if caller.is_alive()]
        if self.stuck and time.monotonic() < self.resume_at:
            raise TimeoutError("it does not answer")
        if self.caller is None:
            self.caller = Caller()
            self.caller.start()
        pending = Pending(call)
        seconds = min(self.probe, self.patience) if self.stuck else self.patience
        self.caller.pending.put(pending)
        if not pending.done.wait(seconds):
            self._leave(self.caller)
            raise TimeoutError(f"no answer within {seconds:g} s")
        return pending.result()

    def _leave(self, caller: Caller) -> None:
        caller.pending.put(None)
        self.stuck.append(caller)
        self.caller = None
        self.resume_at = time.monotonic() + min(2 ** len(self.stuck), MAX_PAUSE_SECONDS)


class Pending:
    """A call, and its result as soon as there is one."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Make the call."""
        try:
            close_old_connections()  # the database may be the cache
            self.value = self.call()
        except BaseException as error:  # noqa: BLE001 - `result` raises it in the calling thread
            self.error = error
        self.done.set()

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.value


class Caller(threading.Thread):
    """Makes one call after another, until it gets None."""

    def __init__(self) -> None:
        super().__init__(name="cache", daemon=True)
        self.pending: SimpleQueue[Pending | None] = SimpleQueue()

    def run(self) -> None:
        """Make calls."""
        while (pending := self.pending.get()) is not None:
            pending.run()


CALLS: Final = CacheCalls()
"""Calls of this process."""
