"""Executes the task of a package, and returns its outcome."""

from __future__ import annotations

import json
import sys
from multiprocessing import current_process
from pathlib import Path
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, cast

from django_q import clock, reporters, signals, text
from django_q.context import running
from django_q.exceptions import TaskCancelled, TimeoutException
from django_q.execution.coroutines import SOURCE_FILES, cancel_coroutine, run_coroutine
from django_q.execution.outcome_builder import OutcomeBuilder, SentArguments
from django_q.execution.timeout import TaskTimer, timeout_of
from django_q.functions import is_known, locate, resolve
from django_q.tracing import Tracer, processing
from django_q.wire.tracking import Attempted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import datetime

    from django_q.django_tasks.running import Call
    from django_q.settings import ClusterSettings
    from django_q.wire.outcome import Outcome
    from django_q.wire.package import TaskPackage

OWN_FILES: Final = SOURCE_FILES | {__file__, str(Path(__file__).parents[1] / "django_tasks" / "running.py")}
"""Files of the frames before the first line of a task."""


class Executor:
    """Executes tasks one after another, in this process and this thread.

    Args:
        settings: of the cluster.
        timer: limits the duration of each task; None creates one that restores the caller's handler of SIGALRM.
        worker: name of the worker, for the records of tracked tasks; empty means the name of this process.
        is_last: returns True if no attempt follows a failed one, from the package and the number of the attempt.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        timer: TaskTimer | None = None,
        worker: str = "",
        is_last: Callable[[Mapping[str, Any], int], bool] = lambda package, attempt: True,
    ) -> None:
        self.settings = settings
        self.is_last = is_last
        self.worker = worker or current_process().name
        self.builder = OutcomeBuilder(settings, self._failure)
        self.codec = self.builder.codec
        self.timer = timer or TaskTimer()
        self.imported: Callable[[], None] | None = None
        """Called after the module of a function was imported; None means no call."""
        self.exception: BaseException | None = None
        """Exception of the last task; None if it succeeded."""
        self.cancelled = False
        """True if the task was cancelled while it ran. The caller resets it before the next task."""
        self._can_be_interrupted = False
        self.traceback = ""
        """Text of the traceback of the last exception."""

    def execute(
        self, package: TaskPackage, *, ack_id: Any = None, attempt: int = 1, started: datetime | None = None
    ) -> Outcome:
        """Execute one task.

        Args:
            package: verified and unpickled. The task may change its arguments, and no other key.
            ack_id: receipt of the delivery; None if there is none.
            attempt: number of this attempt; the first is 1.
            started: start of a tracked task, in UTC, as the monitor was told; None for now.

        Returns:
            The outcome. All exceptions of the task become a failure, including SystemExit and KeyboardInterrupt.
        """
        if (tracer := Tracer.of(self.settings.tracing)) is None:
            return self._execute(package, ack_id, attempt, started)
        with processing(tracer, package, attempt, self.settings.list_key) as span:
            if carrier := span.carrier:
                package["trace"] = carrier
            outcome = self._execute(package, ack_id, attempt, started)
            if self.exception is not None:
                span.fail(self.exception, self.traceback)
            return outcome

    def _execute(self, package: TaskPackage, ack_id: Any, attempt: int, started: datetime | None) -> Outcome:
        self.exception = None
        began = perf_counter()
        started = (started or clock.now()) if package.get("track") else None
        with running(package, attempt):
            sent = call = None
            try:
                sent = SentArguments.of(package)
                if "backend" in package:
                    func = call = self._call_of(package, attempt)
                else:
                    func = self._resolve(package["func"])
                signals.emit(signals.pre_execute, func=func, task=package)
                success, result = True, self._call(func, package)
            except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are failures, too
                success, result = False, self._cancellation(error) if self.cancelled else self._failure(error)
            duration = perf_counter() - began
            finished = dict(package, result=result, success=success, stopped=clock.now())
            signals.emit(signals.post_execute_in_worker, func=package["func"], task=finished)
            try:
                final = call is not None and call.returned
                outcome = self.builder.build(
                    finished, ack_id=ack_id, attempt=attempt, sent=sent, final=final, duration=duration
                )
                if self.cancelled:
                    outcome = outcome._replace(cancelled=True, final=True)
                return outcome if started is None else self._tracked(outcome, started, package, result)
            except BaseException as error:  # noqa: BLE001 - describing a result runs its own code
                reason = f"The outcome of the task cannot be described: {text.error_line(error)}"
                without = {**package, "args": (), "kwargs": {}}
                failed = self.builder.failed(without, reason, ack_id=ack_id, attempt=attempt, final=success)
                return failed if started is None else self._tracked(failed, started, package, None)

    def _tracked(self, outcome: Outcome, started: datetime, package: TaskPackage, result: Any) -> Outcome:
        """Add the attempt to the outcome of a tracked task."""
        attempted = Attempted(self.worker, started)
        if outcome.success and "backend" in package:
            attempted = attempted._replace(json=json.dumps(result))
        if not outcome.success and self.exception is not None:
            exception_class = text.class_path(self.exception)
            attempted = attempted._replace(exception_class=exception_class, traceback=self.traceback)
        return outcome._replace(attempted=attempted)

    def _call_of(self, package: TaskPackage, attempt: int) -> Call:
        """Return the call of a task of `django.tasks`."""
        from django_q.django_tasks.running import Call  # an optional library on Django 5.2

        path = str(package["func"])
        is_imported = path.rpartition(".")[0] in sys.modules
        with self.timer.running(self.settings.import_timeout, f"Importing {path!r} took longer than import_timeout"):
            task = locate(path)
        if self.imported is not None and not is_imported:
            self.imported()
        return Call(
            task,
            package,
            attempt,
            self.worker,
            is_last=lambda: self.cancelled or self.is_last(package, attempt),
            run_coroutine=run_coroutine,
            traceback_of=_traceback,
        )

    def _resolve(self, func: str | Callable[..., Any]) -> Callable[..., Any]:
        """Find the function. The import of its module is limited by `import_timeout`, not by the task's timeout."""
        if not isinstance(func, str) or is_known(func):
            return resolve(func)
        with self.timer.running(self.settings.import_timeout, f"Importing {func!r} took longer than import_timeout"):
            found = resolve(func)
        if self.imported is not None:
            self.imported()
        return found

    def _call(self, func: Callable[..., Any], package: TaskPackage) -> Any:
        with self.timer.running(timeout_of(package, self.settings)):
            self._can_be_interrupted = True
            try:
                if self.cancelled:
                    raise TaskCancelled
                result = func(*package.get("args", ()), **package.get("kwargs", {}))
                if type(result) is CoroutineType:  # isinstance() would run the result's own code
                    result = run_coroutine(cast("Coroutine[Any, Any, Any]", result))
            finally:
                self._can_be_interrupted = False
        if self.cancelled:
            raise TaskCancelled
        if self.timer.fired:
            raise TimeoutException("Task exceeded maximum timeout value and swallowed the exception")
        return result

    def cancel(self) -> None:
        """Cancel the task that runs, or that is about to run. Call it from a signal handler in the thread of the task.

        Raises:
            TaskCancelled: the task runs, and is no coroutine. A coroutine gets `asyncio.CancelledError`.
        """
        self.cancelled = True
        if self._can_be_interrupted and not cancel_coroutine():
            raise TaskCancelled

    def _cancellation(self, error: BaseException) -> str:
        """Return the text of a cancelled task. It is no error, and is not reported."""
        self.exception = TaskCancelled()
        self.traceback = _traceback(error)
        return text.sentence_of(self.exception)

    def _failure(self, error: BaseException) -> str:
        self.exception = error
        reporters.report(error, self.settings)
        self.traceback = _traceback(error)
        return text.bounded(f"{text.sentence_of(error)} : {self.traceback}", text.MAX_TEXT_CHARACTERS)


def _traceback(error: BaseException) -> str:
    """Format a traceback from the first line of the task, without the frames of Django Q."""
    place = BaseException.__dict__["__traceback__"].__get__(error)  # without the exception's own code
    while place is not None and place.tb_frame.f_code.co_filename in OWN_FILES:
        place = place.tb_next
    return text.traceback_of(error, place)
