"""Queues with a size on all systems, under their old name.

Clusters use no such queue: `django_q.cluster.ipc.channels` has theirs, which share no lock between processes.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import Queue as ProcessQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext


class SharedCounter:
    """Counter that processes share.

    Args:
        n: its first value.
        ctx: context of `multiprocessing` of these processes; None for the default one.
    """

    def __init__(self, n: int = 0, *, ctx: BaseContext | None = None) -> None:
        self.count = (ctx or multiprocessing.get_context()).Value("i", n)

    def increment(self, n: int = 1) -> None:
        """Add a number, which may be negative."""
        with self.count.get_lock():
            self.count.value += n

    @property
    def value(self) -> int:
        """Current value."""
        return self.count.value


class Queue(ProcessQueue):  # type: ignore[type-arg]
    """Queue of `multiprocessing` with `qsize` and `empty` on all systems, macOS included.

    Args:
        maxsize: maximum number of items; 0 means no limit.
        ctx: context of `multiprocessing`; None for the default one.
    """

    def __init__(self, maxsize: int = 0, *, ctx: BaseContext | None = None) -> None:
        context: Any = ctx or multiprocessing.get_context()
        super().__init__(maxsize, ctx=context)
        self.size = SharedCounter(ctx=context)

    def __getstate__(self) -> Any:
        return super().__getstate__(), self.size  # type: ignore[misc]

    def __setstate__(self, state: Any) -> None:
        inherited, self.size = state
        super().__setstate__(inherited)  # type: ignore[misc]

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; the arguments are those of `queue.Queue.put`.

        Raises:
            queue.Full: there is no room.
        """
        super().put(obj, block, timeout)
        self.size.increment(1)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item; the arguments are those of `queue.Queue.get`.

        Raises:
            queue.Empty: there is none.
        """
        item = super().get(block, timeout)
        self.size.increment(-1)
        return item

    def qsize(self) -> int:
        """Return the number of items."""
        return self.size.value

    def empty(self) -> bool:
        """Return True if there is no item."""
        return not self.qsize() > 0
