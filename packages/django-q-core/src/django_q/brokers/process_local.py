"""Process-local values."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ProcessLocal(Generic[T]):
    """A value that each process creates on first use. A forked child neither uses nor closes the value of its parent.

    Args:
        make: function that creates the value.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # The parent's value stays referenced, because its garbage collection in the child would close a shared socket.
        self._values: dict[int, T] = {}

    def get(self) -> T:
        """Return the value of this process; create it on first use."""
        pid = os.getpid()
        try:
            return self._values[pid]
        except KeyError:
            return self._values.setdefault(pid, self._make())

    def set(self, value: T) -> None:
        """Set the value of this process."""
        self._values[os.getpid()] = value

    def forget(self) -> None:
        """Remove the value of this process, so that `get` creates a new one."""
        self._values.pop(os.getpid(), None)
