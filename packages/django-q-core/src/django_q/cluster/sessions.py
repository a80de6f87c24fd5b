"""Database sessions of a worker's tasks, including those in the thread that asgiref shares between event loops.

The ORM is called in that thread if a task runs an event loop itself, for instance with `asyncio.run`.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync
from django.db.backends.signals import connection_created

from django_q.databases import connections

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

END_SECONDS: Final = 1.0
"""Maximum time to end the sessions of the shared thread. A thread that is still blocked is replaced."""

_opened: Final = Event()
"""Set if this process may have an open connection. To check all databases takes a tenth of a short task's time."""


class SharedThread(ThreadPoolExecutor):
    """Single thread of asgiref, which records its use."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="asgiref")
        self.is_used = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in the thread."""
        self.is_used = True
        return super().submit(fn, *args, **kwargs)


def begin(*, is_forked: bool) -> None:
    """Prepare a process of the cluster, and the processes that it forks.

    Args:
        is_forked: True if the process may have inherited sessions. They are not used and not closed.
    """
    if is_forked:
        _leave_inherited()
    else:
        SyncToAsync.single_thread_executor = SharedThread()
    connection_created.connect(_note_connection)


def watch_forks() -> None:
    """Register a handler, so that processes forked by this one do not use its sessions.

    The sentinel calls `drop` before each fork instead. The handler would take a tenth of the time to start a worker,
    and half a megabyte in each process.
    """
    os.register_at_fork(after_in_child=_leave_inherited)


def drop() -> None:
    """Drop sessions that log handlers and error reporters have opened, so that no process inherits them."""
    connections.drop_all()
    SyncToAsync.single_thread_executor = SharedThread()


def _note_connection(**_: object) -> None:
    _opened.set()


def _leave_inherited() -> None:
    connections.forget_inherited()
    SyncToAsync.single_thread_executor = SharedThread()  # a thread does not survive a fork


def end(*, idle: bool = False) -> None:
    """End the sessions of a task.

    Args:
        idle: True to check all databases, even if no new connection was signalled.
    """
    if idle or _opened.is_set():
        _opened.clear()
        if connections.end_sessions():
            _opened.set()
    thread = SyncToAsync.single_thread_executor
    if isinstance(thread, SharedThread) and thread.is_used:
        ended = thread.submit(connections.end_sessions)
        thread.is_used = False
        try:
            ended.result(END_SECONDS)
        except TimeoutError:
            thread.shutdown(wait=False)
            SyncToAsync.single_thread_executor = SharedThread()
