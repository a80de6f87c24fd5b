"""A value that is made once a process and never carried over a fork."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class ProcessLocal(Generic[T]):
    """One value a process; a forked child makes its own and neither uses nor closes its parent's."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        # The parent's value stays referenced: collecting it in the child would close a socket that both share.
        self._values: dict[int, T] = {}

    def get(self) -> T:
        """This process's value."""
        pid = os.getpid()
        try:
            return self._values[pid]
        except KeyError:
            return self._values.setdefault(pid, self._make())

    def set(self, value: T) -> None:
        """Use *value* in this process."""
        self._values[os.getpid()] = value

    def forget(self) -> None:
        """Make a new value when one is next asked for."""
        self._values.pop(os.getpid(), None)
