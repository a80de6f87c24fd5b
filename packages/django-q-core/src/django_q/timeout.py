"""The timer of a task, under its old name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django_q.exceptions import TimeoutException
from django_q.execution.timeout import TaskTimer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["TimeoutException", "TimeoutHandler"]


class TimeoutHandler:
    """Context manager that raises `TimeoutException` in its block when its time is over.

    It works in the main thread only.

    Args:
        timeout: the time in seconds; None or 0 means no limit.
    """

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._limit: AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        self._limit = TaskTimer().running(self.timeout or None)
        self._limit.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._limit is not None:
            self._limit.__exit__(None, None, None)
