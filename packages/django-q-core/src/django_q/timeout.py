"""A deadline inside a task: an exception that `finally` blocks see."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from django_q.exceptions import TimeoutException
from django_q.wire.options import NO_TIMEOUT

if TYPE_CHECKING:
    from types import FrameType

    from django_q.settings import ClusterSettings
    from django_q.wire.package import TaskPackage


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
        self._seconds, self._reason = 0.0, ""
        self._armed = False
        self.installed = False
        """Whether SIGALRM is this timer's for good."""

    def install(self) -> None:
        """Become this process's handler of SIGALRM for good: what a worker does."""
        signal.signal(signal.SIGALRM, self.ring)
        self.installed = True

    def running(
        self, seconds: float | None, reason: str = "Task exceeded maximum timeout value"
    ) -> AbstractContextManager[None]:
        """Limit the block to `seconds`; None for no limit.

        Args:
            seconds: the limit.
            reason: the message of the exception, without the limit.

        Raises:
            TimeoutException: inside the block.
        """
        self.fired = False
        self.limited(seconds)
        return _NO_LIMIT if seconds is None or not _possible() else _Limit(self, seconds, reason)

    def limited(self, seconds: float | None) -> None:
        """Called when a limit begins: a worker sets the deadline by which its sentinel kills it."""

    def arm(self, seconds: float, reason: str) -> None:
        """Raise the exception in so many seconds."""
        self._seconds, self._reason, self._armed = seconds, reason, True
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))

    def disarm(self) -> None:
        """Do not ring any more."""
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def ring(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGALRM."""
        if self._armed:
            self._armed = False
            self.fired = True
            raise TimeoutException(f"{self._reason} ({self._seconds:g} seconds)")


class _Limit:
    """The time of one block. A class, because a generator would cost as much as the timer itself."""

    def __init__(self, timer: TaskTimer, seconds: float, reason: str) -> None:
        self.timer, self.seconds, self.reason = timer, seconds, reason

    def __enter__(self) -> None:
        if not self.timer.installed:
            self.handler = signal.signal(signal.SIGALRM, self.timer.ring)
            self.alarm = signal.getitimer(signal.ITIMER_REAL)
        try:
            self.timer.arm(self.seconds, self.reason)
        except BaseException:  # it has rung already
            self.__exit__()
            raise

    def __exit__(self, *raised: object) -> None:
        self.timer.disarm()
        if not self.timer.installed:
            signal.signal(signal.SIGALRM, self.handler)
            signal.setitimer(signal.ITIMER_REAL, *self.alarm)
        elif signal.getsignal(signal.SIGALRM) != self.timer.ring:  # the task took it
            self.timer.install()


_NO_LIMIT = nullcontext()


def _possible() -> bool:
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
