"""A deadline inside a task: an exception that `finally` blocks see."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django_q.exceptions import TimeoutException

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from django_q.package import TaskPackage
    from django_q.settings import ClusterSettings

NO_TIMEOUT = 100_000_000
"""Seconds, three years: how a package says "none" in a way that clusters of the public editions survive."""


def timeout_of(package: TaskPackage, settings: ClusterSettings) -> float | None:
    """How long a task may run.

    Returns:
        Seconds, or None for as long as it takes. The task's own `timeout` comes before the cluster's.
    """
    seconds = package.get("timeout", settings.timeout)
    return None if seconds is None or seconds >= NO_TIMEOUT else float(seconds)


class TaskTimer:
    """Raises `TimeoutException` in the running task when its time is over.

    It uses the one real-time timer that a process has (SIGALRM), so it works in the main thread only; elsewhere, and
    where the system has no such timer, it does nothing, and the sentinel's deadline is what ends a worker.
    """

    def __init__(self) -> None:
        self.fired = False
        """Whether the time of the last task was over, whatever the task made of the exception."""
        self._seconds = 0.0
        self._armed = False
        self._installed = False

    def install(self) -> None:
        """Become this process's handler of SIGALRM for good: what a worker does."""
        signal.signal(signal.SIGALRM, self._ring)
        self._installed = True

    @contextmanager
    def running(self, seconds: float | None) -> Iterator[None]:
        """Limit the block to `seconds`; None for no limit.

        Raises:
            TimeoutException: inside the block.
        """
        self.fired = False
        if seconds is None or not _possible():
            yield
            return
        previous = None if self._installed else signal.signal(signal.SIGALRM, self._ring)
        before = signal.getitimer(signal.ITIMER_REAL) if previous is not None else (0.0, 0.0)
        self._seconds, self._armed = seconds, True
        try:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
            yield
        finally:
            self._armed = False
            if previous is not None:
                signal.signal(signal.SIGALRM, previous)
                signal.setitimer(signal.ITIMER_REAL, *before)
            else:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                if signal.getsignal(signal.SIGALRM) != self._ring:  # the task took it
                    signal.signal(signal.SIGALRM, self._ring)

    def _ring(self, signum: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            self.fired = True
            raise TimeoutException(f"Task exceeded maximum timeout value ({self._seconds:g} seconds)")


def _possible() -> bool:
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
