"""Executes tasks of `django.tasks` in a worker: context, signals, and the return value in JSON types."""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_q import signals
from django_q.clock import in_project_time
from django_q.django_tasks.api import (
    AnyResult,
    Task,
    TaskContext,
    TaskError,
    TaskResultStatus,
    as_json,
    task_backends,
    task_finished,
    task_started,
)
from django_q.django_tasks.results import change, new_result, result_of
from django_q.exceptions import UnknownFunction
from django_q.records.cancelling import records
from django_q.text import class_path

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping


class Call:
    """Call of a task of `django.tasks`, as a function for the executor.

    Args:
        task: object at the path of the package.
        package: of the task; `backend` is the alias of its back end.
        attempt: number of the attempt.
        worker: name of the worker.
        is_last: returns True if no attempt follows a failure.
        run_coroutine: runs a coroutine, and returns its result.
        traceback_of: formats the traceback of an exception.
    """

    returned = False
    """True if the function has returned. Such a task is never executed again, even if its value has no form in JSON."""

    def __init__(
        self,
        task: object,
        package: Mapping[str, Any],
        attempt: int,
        worker: str,
        *,
        is_last: Callable[[], bool],
        run_coroutine: Callable[[Coroutine[Any, Any, Any]], Any],
        traceback_of: Callable[[BaseException], str],
    ) -> None:
        if not isinstance(task, Task):
            raise UnknownFunction(f"{package['func']!r} is no task of django.tasks: decorate it with @task.")
        self.task, self.package, self.attempt, self.worker = task, package, attempt, worker
        self.is_last, self.run_coroutine, self.traceback_of = is_last, run_coroutine, traceback_of
        self.sender = type(task_backends[package["backend"]])
        self.result = self._started()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Execute the task, and return its return value in JSON types."""
        signals.emit(task_started, sender=self.sender, task_result=self.result)
        if self.task.takes_context:
            args = (TaskContext(task_result=self.result), *args)
        try:
            value = self.task.func(*args, **kwargs)
            if type(value) is CoroutineType:
                value = self.run_coroutine(value)
            self.returned = True
            value = as_json(value)
        except BaseException as error:
            self._failed(error)
            raise
        change(self.result, status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now(), _return_value=value)
        self._finished()
        return value

    def _started(self) -> AnyResult:
        """Return the result of the task while it runs. Earlier attempts are read from its record."""
        record = records().filter(pk=self.package["id"]).first() if self.attempt > 1 else None
        if record is None:
            sent = in_project_time(self.package["started"])
            arguments = self.package.get("args", ()), self.package.get("kwargs", {})
            result = new_result(self.task, self.package["id"], self.package["backend"], sent, *arguments)
        else:
            result = result_of(record, self.task)
        now = timezone.now()
        workers = [*result.worker_ids[: self.attempt - 1], self.worker]
        change(
            result,
            status=TaskResultStatus.RUNNING,
            started_at=result.started_at or now,
            last_attempted_at=now,
            finished_at=None,
            worker_ids=workers,
        )
        return result

    def _failed(self, error: BaseException) -> None:
        """Announce the end of the last attempt. Called while the exception is handled."""
        described = TaskError(exception_class_path=class_path(error), traceback=self.traceback_of(error))
        self.result.errors.append(described)
        if self.returned or self.is_last():
            change(self.result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
            self._finished()
        else:
            change(self.result, status=TaskResultStatus.READY)

    def _finished(self) -> None:
        signals.emit(task_finished, sender=self.sender, task_result=self.result)
