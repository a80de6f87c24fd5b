"""Raises TimeoutException inside a task whose time is over, so that its `finally` blocks run."""

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
    """Return the timeout of a task in seconds; None means no limit.

    The task's own option `timeout` takes precedence over the setting.
    """
    seconds = package.get("timeout", settings.timeout)
    return None if seconds is None or seconds >= NO_TIMEOUT else float(seconds)


class TaskTimer:
    """Raises `TimeoutException` in the running task when its time is over.

    It uses the real-time timer of the process (SIGALRM), which works in the main thread only. In other threads, and on
    systems without this timer, it does nothing. There, the deadline of the sentinel ends the worker.
    """

    def __init__(self) -> None:
        self.fired = False
        """True if the time of the last task was over, even if the task caught the exception."""
        self._seconds, self._reason = 0.0, ""
        self._armed = False
        self.installed = False
        """True if this timer is the permanent handler of SIGALRM."""

    def install(self) -> None:
        """Make this timer the permanent handler of SIGALRM, as workers do."""
        signal.signal(signal.SIGALRM, self.ring)
        self.installed = True

    def running(
        self, seconds: float | None, reason: str = "Task exceeded maximum timeout value"
    ) -> AbstractContextManager[None]:
        """Return a context manager that limits the duration of its block.

        Args:
            seconds: the limit; None means no limit.
            reason: message of the exception, without the limit.

        Raises:
            TimeoutException: inside the block, when its time is over.
        """
        self.fired = False
        self.limited(seconds)
        return _NO_LIMIT if seconds is None or not _possible() else _Limit(self, seconds, reason)

    def limited(self, seconds: float | None) -> None:
        """Announce the limit of a block that begins; workers override this to set the sentinel's deadline."""

    def arm(self, seconds: float, reason: str) -> None:
        """Start the timer.

        Args:
            seconds: time until the exception.
            reason: message of the exception, without the limit.
        """
        self._seconds, self._reason, self._armed = seconds, reason, True
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))

    def disarm(self) -> None:
        """Stop the timer."""
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def ring(self, signum: int, frame: FrameType | None) -> None:
        """Handle SIGALRM.

        Raises:
            TimeoutException: the timer is started.
        """
        if self._armed:
            self._armed = False
            self.fired = True
            raise TimeoutException(f"{self._reason} ({self._seconds:g} seconds)")


class _Limit:
    """Limit of one block. It is a class, because a generator would cost as much time as the timer."""

    def __init__(self, timer: TaskTimer, seconds: float, reason: str) -> None:
        self.timer, self.seconds, self.reason = timer, seconds, reason

    def __enter__(self) -> None:
        if not self.timer.installed:
            self.handler = signal.signal(signal.SIGALRM, self.timer.ring)
            self.alarm = signal.getitimer(signal.ITIMER_REAL)
        try:
            self.timer.arm(self.seconds, self.reason)
        except BaseException:  # the time is over already
            self.__exit__()
            raise

    def __exit__(self, *raised: object) -> None:
        self.timer.disarm()
        if not self.timer.installed:
            signal.signal(signal.SIGALRM, self.handler)
            signal.setitimer(signal.ITIMER_REAL, *self.alarm)
        elif signal.getsignal(signal.SIGALRM) != self.timer.ring:  # the task installed another handler
            self.timer.install()


_NO_LIMIT = nullcontext()


def _possible() -> bool:
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
