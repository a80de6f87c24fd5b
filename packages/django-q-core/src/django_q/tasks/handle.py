"""Handle of a task that was sent: its id, with methods to follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from asgiref.sync import sync_to_async

from django_q.exceptions import TaskFailed, TaskPending
from django_q.models import Record, Status
from django_q.results.failures import FailureText
from django_q.results.waiting import MISSING, Missing, await_for, wait_for
from django_q.tasks import reading, tracking
from django_q.tasks.routing import chosen_broker
from django_q.text import text_of

if TYPE_CHECKING:
    from django_q.brokers import Broker
    from django_q.models import Task


class TaskHandle(str):
    """Id of a task, with methods to follow it. It is a `str`: it is pickled, and works everywhere, as the id alone.

    Args:
        task_id: id of the task.
    """

    __slots__ = ("__dict__",)

    _cached: bool | float | None = None
    _broker: Broker | None = None
    _cluster: str | None = None

    def sent(self, cached: bool | float | None, broker: Broker | None, cluster: str | None) -> Self:
        """Set the options with which the task was sent, and return the handle.

        Args:
            cached: True, or the seconds, if the result is kept in the cache; None means as the settings say.
            broker: broker that the caller chose; None if the settings chose it.
            cluster: name of the cluster that executes the task; None means that of the settings.
        """
        self._cached, self._broker, self._cluster = cached, broker, cluster
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)

    def __repr__(self) -> str:
        return repr(str(self))

    def __str__(self) -> str:
        return str.__str__(self)[:]

    def status(self) -> Status | None:
        """Return the status of the task, as `django_q.tasks.status`."""
        return tracking.status_of(self.record(), self._task)

    def record(self) -> Record | None:
        """Return the record of the task, as `django_q.tasks.record`."""
        return tracking.record(self)

    def result(self, timeout: float | None = 0) -> Any:
        """Return the return value of the task.

        Args:
            timeout: seconds to wait for it; 0 reads once, None waits without limit.

        Raises:
            TaskFailed: the task failed or was cancelled. A task that is not tracked counts as failed after each failed
                attempt, even if another one follows.
            TaskPending: it has no result in time.
            OptionError: `timeout` is not a number.
            ResultsUnavailable: the cache is unavailable.
        """
        return self._finished(wait_for(self._read, milliseconds(timeout)))

    def cancel(self) -> bool:
        """Cancel the task, as `django_q.tasks.cancel`."""
        return tracking.cancel(self)

    async def acancel(self) -> bool:
        """Cancel the task without blocking the event loop."""
        return await sync_to_async(self.cancel)()

    async def astatus(self) -> Status | None:
        """Return the status of the task without blocking the event loop."""
        return await sync_to_async(self.status)()

    async def arecord(self) -> Record | None:
        """Return the record of the task without blocking the event loop."""
        return await sync_to_async(self.record)()

    async def aresult(self, timeout: float | None = 0) -> Any:  # noqa: ASYNC109 - the name in `result`
        """Return the return value of the task like `result`, without blocking the event loop."""
        return self._finished(await await_for(sync_to_async(self._read), milliseconds(timeout)))

    def _read(self) -> Record | Task | Missing:
        """Return the finished task, or its record."""
        record = self.record()
        if record is not None:
            return record if record.is_finished else MISSING
        return self._task() or MISSING

    def _task(self) -> Task | None:
        if self._cached is None or self._cached is False:
            return reading.fetch(self, cached=self._cached)
        found = reading.fetch_cached(self, broker=chosen_broker(self._broker, self._cluster))
        # A cluster that consumes several queues keeps results under its own name.
        return found or (reading.fetch_cached(self) if self._cluster else None)

    @staticmethod
    def _finished(found: Record | Task | Missing) -> Any:
        """Return the return value of a finished task, or raise its failure."""
        if isinstance(found, Missing):
            raise TaskPending
        if isinstance(found, Record):
            if found.status == Status.SUCCEEDED:
                return found.return_value
            raise failure_of_record(found)
        if found.success:
            return found.result
        raise TaskFailed(*FailureText.of(text_of(found.result)))


def milliseconds(timeout: float | None) -> Any:
    """Return a number of seconds as milliseconds; -1 for None. Another value is rejected by the wait."""
    if timeout is None:
        return -1
    return timeout * 1000 if isinstance(timeout, (int, float)) else timeout


def failure_of_record(record: Record) -> TaskFailed:
    """Return the exception for a task that failed or was cancelled, from its record."""
    last = record.attempts[-1] if record.attempts else {}
    traceback = last.get("traceback") or ""
    message = FailureText.of(traceback).message or str(Status(record.status).label)
    return TaskFailed(message, last.get("exception_class") or "", traceback)
