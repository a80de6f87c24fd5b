"""Runs a coroutine, and the synchronous calls that it awaits, in the calling thread."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from asgiref.sync import ThreadSensitiveContext

from django_q.clock import real_clock

if TYPE_CHECKING or not hasattr(asyncio, "ProactorEventLoop"):
    from asyncio import SelectorEventLoop as PlatformLoop
else:  # Windows
    from asyncio import ProactorEventLoop as PlatformLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

P = ParamSpec("P")
T = TypeVar("T")

SOURCE_FILES: Final = frozenset({__file__, asyncio.runners.__file__, asyncio.base_events.__file__})
"""Files of the frames between the caller of `run_coroutine` and the coroutine."""


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own.

    Its calls of the ORM run in this thread, on the connections of this thread. When it ends, its unfinished tasks are
    cancelled, its asynchronous generators are closed, and the loop is closed.

    Args:
        coroutine: the coroutine.

    Returns:
        Its result.

    Raises:
        RuntimeError: an event loop runs in this thread already.
    """
    context = copy_context()
    runner = asyncio.Runner(loop_factory=TaskLoop)
    try:
        return runner.run(_with_calls_in_this_thread(coroutine), context=context)
    finally:
        context.copy().run(runner.close)


def cancel_coroutine() -> bool:
    """Cancel the coroutine that runs in this thread. Call it from a signal handler.

    Returns:
        False if no coroutine runs, or if it is interrupted by a synchronous call that it awaits.
    """
    loop = asyncio._get_running_loop()
    if not isinstance(loop, TaskLoop) or loop.task is None or loop.calls.running:
        return False
    loop.call_soon_threadsafe(loop.task.cancel)
    return True


async def _with_calls_in_this_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine whose thread-sensitive calls the loop runs itself.

    The asgiref context is not left here: unfinished tasks and generators need it until the loop is closed.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TaskLoop)
    loop.task = asyncio.current_task()
    await ThreadSensitiveContext(executor=loop.calls).__aenter__()
    return await coroutine


class TaskLoop(PlatformLoop):
    """An event loop that pauses to run thread-sensitive calls of its coroutines in its own thread.

    The timeout of a task is an exception in this thread, so it interrupts these calls, too. The clock of the loop goes
    on while a test has frozen the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = ThreadCalls(self)
        self.thread = threading.get_ident()
        self.task: asyncio.Task[Any] | None = None
        """Task of the coroutine."""
        self._is_ended = False

    def time(self) -> float:
        """Return the time of the loop in seconds."""
        return real_clock()

    def run_forever(self) -> None:
        """Run until `stop` is called; run a call whenever the loop pauses."""
        self._is_ended = False
        try:
            while not self._is_ended:
                self.calls.run_next()
                if self.calls.waiting:
                    self.pause()
                super().run_forever()
        except BaseException:
            self.calls.cancel()
            raise

    def stop(self) -> None:
        """Stop the loop."""
        self._is_ended = True
        super().stop()

    def pause(self) -> None:
        """Let `run_forever` run the next waiting call."""
        super().stop()

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Schedule a callback from any thread.

        Raises:
            RuntimeError: a call that blocks the loop would wait for a coroutine in it. asgiref then uses another loop.
        """
        if self.calls.running and threading.get_ident() == self.thread and any(map(asyncio.iscoroutine, args)):
            raise RuntimeError("The loop is paused until this call returns")
        return super().call_soon_threadsafe(callback, *args, context=context)


class ThreadCalls(Executor):
    """Runs calls in the thread of a loop.

    Args:
        loop: pauses when a call is submitted.
    """

    def __init__(self, loop: TaskLoop) -> None:
        self.loop: TaskLoop = weakref.proxy(loop)  # so that a closed loop is freed at once
        self.running = False
        """True while a call runs."""
        self.waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call; callable from any thread."""
        future: Future[T] = Future()
        self.waiting.append((future, partial(fn, *args, **kwargs)))
        self.loop.call_soon_threadsafe(self.loop.pause)
        return future

    def run_next(self) -> None:
        """Run the next waiting call, if there is one.

        Raises:
            SystemExit: of the call, or because the time of the task is over. The loop ends, as for one of a coroutine.
            KeyboardInterrupt: as above.
        """
        if not self.waiting:
            return
        future, call = self.waiting.popleft()
        if not future.set_running_or_notify_cancel():
            return
        self.running = True
        try:
            result = call()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - the coroutine that awaits the call gets it
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            self.running = False

    def cancel(self) -> None:
        """Cancel the waiting calls."""
        while self.waiting:
            self.waiting.popleft()[0].cancel()
