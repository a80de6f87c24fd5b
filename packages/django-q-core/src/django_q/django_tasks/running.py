"""Executes tasks of `django.tasks` in a worker: context, signals, and the return value in JSON types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from django_q.clock import in_project_time
from django_q.django_tasks.api import (
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from django_q.django_tasks.results import change, new_result, result_of
from django_q.exceptions import UnknownFunction
from django_q.records.cancelling import records
from django_q.text import class_path, traceback_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Call:
    """Call of a task of `django.tasks`, as a function for the executor.

    Args:
        task: object at the path of the package.
        package: of the task; `backend` is the alias of its back end.
        attempt: number of the attempt.
        worker: name of the worker.
        is_last: returns True if no attempt follows a failure.
    """

    def __init__(
        self, task: object, package: Mapping[str, Any], attempt: int, worker: str, is_last: Callable[[], bool]
    ) -> None:
        if not isinstance(task, Task):
            raise UnknownFunction(f"{package['func']!r} is no task of django.tasks: decorate it with @task.")
        self.task, self.package, self.attempt, self.worker, self.is_last = task, package, attempt, worker, is_last
        self.sender = type(task_backends[package["backend"]])
        self.result = self._started()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Execute the task, and return its return value, or a coroutine that returns it."""
        task_started.send(self.sender, task_result=self.result)
        if self.task.takes_context:
            args = (TaskContext(task_result=self.result), *args)
        try:
            value = self.task.func(*args, **kwargs)
            if hasattr(value, "__await__"):
                return self._awaited(value)
            value = normalize_json(value)
        except BaseException as error:
            self._failed(error)
            raise
        return self._succeeded(value)

    async def _awaited(self, coroutine: Any) -> Any:
        try:
            value = normalize_json(await coroutine)
        except BaseException as error:
            self._failed(error)
            raise
        return self._succeeded(value)

    def _started(self) -> TaskResult:
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

    def _succeeded(self, value: Any) -> Any:
        change(self.result, status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now(), _return_value=value)
        task_finished.send(self.sender, task_result=self.result)
        return value

    def _failed(self, error: BaseException) -> None:
        """Announce the end of the last attempt. Called while the exception is handled."""
        self.result.errors.append(TaskError(exception_class_path=class_path(error), traceback=traceback_of(error)))
        if self.is_last():
            change(self.result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
            task_finished.send(self.sender, task_result=self.result)
        else:
            change(self.result, status=TaskResultStatus.READY)
