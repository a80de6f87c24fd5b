"""Calls a server in a thread, so that one that does not answer blocks nothing else."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from django.db import connections

from django_q.text import error_line

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

FRESH_SECONDS: Final = 1.0
"""Age at which a result is used again: many requests cost a server one call a second."""

ABANDON_SECONDS: Final = 10.0
"""Time after which another thread makes the call, with a new connection."""

MAX_PAUSE_SECONDS: Final = 60.0
"""Maximum pause between two such threads while none has an answer."""


class Call(threading.Thread, Generic[T]):
    """One call.

    Args:
        make: makes the call. Its connections are opened and closed in this thread.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        super().__init__(name="probe", daemon=True)
        self.make = make
        self.began = time.monotonic()
        self.value: T | None = None
        self.error: str | None = None
        self.is_done = False

    def run(self) -> None:
        """Make the call, and keep its result or error."""
        try:
            self.value = self.make()
        except Exception as error:  # noqa: BLE001 - edge of a thread: each driver has its own errors
            self.error = error_line(error)
        finally:
            self.is_done = True
            connections.close_all()


class BackgroundCall(Generic[T]):
    """Makes the same call again and again, at most one at a time, and abandons those without an answer.

    Args:
        make: makes the call. It must not share a connection with another thread.
        timeout: time after which there is no answer, in seconds.
    """

    def __init__(self, make: Callable[[], T], timeout: float) -> None:
        self.make, self.timeout = make, timeout
        self.last: Call[T] | None = None
        """Last call that has ended."""
        self.current: Call[T] | None = None
        self.stuck: list[Call[T]] = []

    def result(self, asked: float) -> Call[T] | None:
        """Return a call that has ended, or one without an answer in time; None if the caller should ask again.

        Args:
            asked: time of the request (`time.monotonic`, seconds).
        """
        if self.current is not None and self.current.is_done:
            self.last, self.current = self.current, None
        if self.last is not None and self.last.began >= asked - FRESH_SECONDS:
            return self.last
        now = time.monotonic()
        if self.current is not None and now > self.current.began + self._patience():
            self.stuck.append(self.current)
            self.current = None
        if self.current is None:
            self.stuck = [call for call in self.stuck if call.is_alive()]
            self.current = Call(self.make)
            self.current.start()
        return self._unanswered() if now > asked + self.timeout else None

    def _patience(self) -> float:
        return min(ABANDON_SECONDS * 2 ** len(self.stuck), MAX_PAUSE_SECONDS)

    def _unanswered(self) -> Call[T]:
        call = Call(self.make)
        call.error = f"no answer within {self.timeout:g} seconds"
        return call
