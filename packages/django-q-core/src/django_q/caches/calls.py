"""Calls a cache with a timeout, so that a cache that does not answer blocks no process."""

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
"""Time limit of a call to the cache."""

PROBE_SECONDS: Final = 0.5
"""Time limit of a call while an earlier call has not returned."""

MAX_PAUSE_SECONDS: Final = 600.0
"""Maximum pause between two threads that try a cache which does not answer."""


class CacheCalls:
    """Makes calls to the cache: in the calling thread, or in another one with a timeout after `limit` was called.

    Most clients of caches have no timeout by default, and a connection that is cut without notice never answers. A
    thread without an answer is abandoned. Another one with its own connection tries again, after growing pauses.

    Args:
        probe: time limit in seconds while an earlier call has not returned.
    """

    def __init__(self, probe: float = PROBE_SECONDS) -> None:
        self.probe, self.timeout = probe, CALL_TIMEOUT_SECONDS
        self.limited = False
        self.stuck: list[Caller] = []
        self.caller: Caller | None = None
        self.resume_at = 0.0
        """Time at which the next thread tries while others are stuck (`time.monotonic`, seconds)."""

    def limit(self, timeout: float = CALL_TIMEOUT_SECONDS) -> None:
        """Limit the time of all later calls in this process, which must not share an open transaction with the cache.

        Args:
            timeout: time limit of a call, in seconds.
        """
        self.limited, self.timeout = True, timeout

    def make(self, call: Callable[[], T]) -> T:
        """Make a call and return its result.

        Raises:
            TimeoutError: the cache does not answer; the call may still take effect.
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
        seconds = min(self.probe, self.timeout) if self.stuck else self.timeout
        self.caller.pending.put(pending)
        if not pending.done.wait(seconds):
            self._abandon(self.caller)
            raise TimeoutError(f"no answer within {seconds:g} s")
        return pending.result()

    def _abandon(self, caller: Caller) -> None:
        caller.pending.put(None)
        self.stuck.append(caller)
        self.caller = None
        self.resume_at = time.monotonic() + min(2 ** len(self.stuck), MAX_PAUSE_SECONDS)


class Pending:
    """A call, and its result or error after its end."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Make the call, and keep its result or error."""
        try:
            close_old_connections()  # the cache may be in a database
            self.value = self.call()
        except BaseException as error:  # noqa: BLE001 - `result` raises it in the calling thread
            self.error = error
        self.done.set()

    def result(self) -> Any:
        """Return the result of the call, or raise its error."""
        if self.error is not None:
            raise self.error
        return self.value


class Caller(threading.Thread):
    """Thread that makes one call after another, until it gets None."""

    def __init__(self) -> None:
        super().__init__(name="cache", daemon=True)
        self.pending: SimpleQueue[Pending | None] = SimpleQueue()

    def run(self) -> None:
        """Make the calls of `pending`."""
        while (pending := self.pending.get()) is not None:
            pending.run()


CALLS: Final = CacheCalls()
"""Calls of this process."""
