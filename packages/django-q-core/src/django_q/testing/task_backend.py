"""Conformance suite of back ends of `django.tasks`: their promises as tests."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import pytest
from django.utils import timezone

from django_q.django_tasks.api import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from django_q.testing.eventually import eventually

if TYPE_CHECKING:
    from types import ModuleType

    from django.dispatch import Signal

    from django_q.django_tasks.api import AnyResult, AnyTask, BaseTaskBackend

Test = TypeVar("Test", bound=Callable[..., None])
Step: TypeAlias = Callable[[], object]
Finish: TypeAlias = "Callable[[AnyResult], Any]"

DEFER_SECONDS = 1.5
"""Delay of a task whose execution a test waits for."""

CLOCK_SKEW_SECONDS = 0.1
"""Maximum difference between the clocks of sender and worker."""

MAX_ID_CHARACTERS = 64
"""Maximum length of the id of a result."""

JSON_VALUES: tuple[Any, ...] = (None, True, 1, 2.5, "text ✓", [1, [2]], {"key": {"nested": None}})
"""A value of each type in JSON."""


def needs(*capabilities: str) -> Callable[[Test], Test]:
    """Mark a test that needs capabilities: attributes of the back end or the suite that must be true."""

    def mark(test: Test) -> Test:
        test.needs = capabilities  # type: ignore[attr-defined]
        return test

    return mark


class TaskBackendConformance:
    """All promises of a back end of `django.tasks`. Tests are selected by its capabilities.

    `TASKS["default"]` is the back end under test. Its workers execute the tasks of `django_q.testing.task_jobs` while
    the tests run. If no worker runs, the fixture `step` executes them:

    ```python
    class TestMyBackend(TaskBackendConformance):
        on_demand = True

        @pytest.fixture
        def step(self):
            return my_worker.execute_all
    ```

    Promises that a back end cannot keep are listed in `not_promised`, with the reason.
    """

    attempts: ClassVar[int] = 1
    """Number of attempts of a task that fails, in the configuration under test."""
    on_demand: ClassVar[bool] = False
    """True if tasks are executed only in calls of `step`, one after another and in this process."""
    timeout_seconds: ClassVar[float] = 30.0
    """Maximum duration of a wait in a test. It is not a promise of the back end."""
    not_promised: ClassVar[Mapping[str, str]] = {}
    """Tests that are expected to fail, each with the reason."""

    @pytest.fixture
    def step(self) -> Step:
        """Return a function that executes each task that waits once. By default, workers do that."""
        return lambda: None

    @pytest.fixture
    def backend(self) -> BaseTaskBackend:
        """Return the back end under test."""
        return task_backends["default"]

    @pytest.fixture
    def jobs(self) -> ModuleType:
        """Return the module of tasks, which is imported after the configuration."""
        return import_module("django_q.testing.task_jobs")

    @pytest.fixture(autouse=True)
    def chosen_by_capability(self, request: pytest.FixtureRequest, backend: BaseTaskBackend) -> None:
        """Skip tests of missing capabilities, and mark those in `not_promised` as expected failures."""
        test = request.function
        for capability in getattr(test, "needs", ()):
            asked = self if hasattr(self, capability) else backend
            if not getattr(asked, capability):
                pytest.skip(f"{type(asked).__name__}.{capability} is false")
        if reason := self.not_promised.get(test.__name__):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture
    def finish(self, step: Step) -> Finish:
        """Return a function that waits until a task has finished, and returns its refreshed result."""

        def wait(result: AnyResult) -> AnyResult:
            def is_finished() -> bool:
                step()
                result.refresh()
                return result.is_finished

            eventually(is_finished, within=self.timeout_seconds)
            return result

        return wait

    # sending

    def test_new_result_describes_the_call(self, jobs: ModuleType, backend: BaseTaskBackend) -> None:
        before = timezone.now()
        result = jobs.echo.enqueue(1, key="value")
        assert (result.task, result.backend) == (jobs.echo, backend.alias)
        assert (result.args, result.kwargs) == ([1], {"key": "value"})
        assert type(result.id) is str
        assert 0 < len(result.id) <= MAX_ID_CHARACTERS
        assert before <= result.enqueued_at <= timezone.now()

    @needs("on_demand")
    def test_new_result_is_ready(self, jobs: ModuleType) -> None:
        result = jobs.echo.enqueue()
        assert (result.status, result.is_finished) == (TaskResultStatus.READY, False)
        assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)
        assert (result.worker_ids, result.attempts, result.errors) == ([], 0, [])
        with pytest.raises(ValueError, match="not finished"):
            _ = result.return_value

    def test_each_result_has_its_own_id(self, jobs: ModuleType) -> None:
        assert len({jobs.nothing.enqueue().id for _ in range(20)}) == 20

    def test_arguments_have_json_types(self, jobs: ModuleType) -> None:
        result = jobs.echo.enqueue((1, 2), key=b"bytes")
        assert (result.args, result.kwargs) == ([[1, 2]], {"key": "bytes"})

    @pytest.mark.parametrize("value", [object(), {1, 2}, datetime(2030, 1, 1, tzinfo=UTC), 1j, ...])
    def test_argument_without_json_is_rejected(self, jobs: ModuleType, value: Any) -> None:
        with pytest.raises(TypeError):
            jobs.echo.enqueue(value)
        with pytest.raises(TypeError):
            jobs.echo.enqueue(key=[value])

    def test_bytes_without_text_are_rejected(self, jobs: ModuleType) -> None:
        with pytest.raises(ValueError, match="bytes"):
            jobs.echo.enqueue(b"\xff")

    @needs("supports_get_result")
    def test_coroutine_can_send_and_read(self, jobs: ModuleType, finish: Finish) -> None:
        async def send() -> tuple[Any, Any]:
            result = await jobs.echo.aenqueue(1)
            found = await jobs.echo.aget_result(result.id)
            await result.arefresh()
            return result, found

        result, found = asyncio.run(send())
        assert result.id == found.id
        assert finish(found).return_value == [[1], {}]

    # tasks

    def test_local_function_is_rejected(self) -> None:
        def local() -> None: ...

        with pytest.raises(InvalidTask):
            made(local)

    def test_built_in_function_is_rejected(self) -> None:
        with pytest.raises(InvalidTask):
            made(sum)

    def test_context_needs_its_argument(self, jobs: ModuleType) -> None:
        for func in (jobs.plain, jobs.without_context):
            with pytest.raises(InvalidTask, match="context"):
                made(func, takes_context=True)

    def test_unknown_queue_is_rejected(self, jobs: ModuleType, backend: BaseTaskBackend) -> None:
        if not backend.queues:
            pytest.skip("QUEUES is empty: all names are valid")
        with pytest.raises(InvalidTask, match="no-such-queue"):
            jobs.echo.using(queue_name="no-such-queue")

    @needs("supports_priority")
    def test_priority_is_a_whole_number_within_bounds(self, jobs: ModuleType) -> None:
        for priority in (-100, 0, 100):
            assert jobs.echo.using(priority=priority).priority == priority
        for priority in (-101, 101, 1.5):
            with pytest.raises(InvalidTask):
                jobs.echo.using(priority=priority)

    @needs("supports_defer")
    def test_naive_time_is_rejected(self, jobs: ModuleType) -> None:
        with pytest.raises(InvalidTask):
            jobs.echo.using(run_after=datetime(2030, 1, 1))  # noqa: DTZ001 - the mistake

    def test_missing_capability_is_a_mistake(self, jobs: ModuleType, backend: BaseTaskBackend) -> None:
        changes: dict[str, dict[str, Any]] = {
            "supports_defer": {"run_after": timezone.now()},
            "supports_priority": {"priority": 1},
        }
        for capability, change in changes.items():
            if not getattr(backend, capability):
                with pytest.raises(InvalidTask):
                    jobs.echo.using(**change)
            else:
                assert jobs.echo.using(**change)

    def test_correct_configuration_has_no_messages(self, backend: BaseTaskBackend) -> None:
        assert list(backend.check()) == []

    # results

    @needs("supports_get_result")
    def test_success_has_value_and_times(self, jobs: ModuleType, finish: Finish) -> None:
        result = finish(jobs.echo.enqueue(1, key=[2]))
        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, [[1], {"key": [2]}])
        assert result.enqueued_at <= result.started_at + timedelta(seconds=CLOCK_SKEW_SECONDS)
        assert result.started_at == result.last_attempted_at <= result.finished_at
        assert (result.attempts, len(result.worker_ids), result.errors) == (1, 1, [])
        assert result.worker_ids[0]

    @needs("supports_get_result")
    @pytest.mark.parametrize("value", JSON_VALUES)
    def test_values_arrive_unchanged(self, jobs: ModuleType, finish: Finish, value: Any) -> None:
        assert finish(jobs.echo.enqueue(value, key=value)).return_value == [[value], {"key": value}]

    @needs("supports_get_result")
    def test_read_result_equals_the_sent_one(self, jobs: ModuleType, finish: Finish) -> None:
        sent = finish(jobs.echo.enqueue((1,), key="value"))
        assert jobs.echo.get_result(sent.id) == sent

    @needs("supports_get_result")
    def test_read_result_was_enqueued_when_it_was_sent(self, jobs: ModuleType) -> None:
        sent = jobs.echo.enqueue()
        read = jobs.echo.get_result(sent.id)
        assert (read.id, read.task, read.backend, read.args, read.kwargs) == (sent.id, jobs.echo, sent.backend, [], {})
        assert abs(read.enqueued_at - sent.enqueued_at) < timedelta(seconds=1)

    @needs("supports_get_result")
    def test_none_is_a_return_value(self, jobs: ModuleType, finish: Finish) -> None:
        assert finish(jobs.nothing.enqueue()).return_value is None

    @needs("supports_get_result")
    def test_return_value_has_json_types(self, jobs: ModuleType, finish: Finish) -> None:
        assert finish(jobs.pair.enqueue()).return_value == [1, 2]

    @needs("supports_get_result")
    def test_value_without_json_is_a_failure(self, jobs: ModuleType, finish: Finish) -> None:
        result = finish(jobs.no_json.enqueue())
        assert result.status == TaskResultStatus.FAILED
        assert {each.exception_class for each in result.errors} == {TypeError}

    @needs("supports_get_result")
    def test_unknown_result_does_not_exist(self, jobs: ModuleType, backend: BaseTaskBackend) -> None:
        for read in (backend.get_result, jobs.echo.get_result):
            with pytest.raises(TaskResultDoesNotExist):
                read("no-such-result")
        with pytest.raises(TaskResultDoesNotExist):
            asyncio.run(backend.aget_result("no-such-result"))

    @needs("supports_get_result")
    def test_result_of_another_task_is_a_mismatch(self, jobs: ModuleType) -> None:
        result = jobs.nothing.enqueue()
        with pytest.raises(TaskResultMismatch):
            jobs.echo.get_result(result.id)
        with pytest.raises(TaskResultMismatch):
            asyncio.run(jobs.echo.aget_result(result.id))

    @needs("supports_get_result")
    def test_result_is_read_from_another_thread(
        self, jobs: ModuleType, backend: BaseTaskBackend, finish: Finish
    ) -> None:
        result = finish(jobs.echo.enqueue(1))
        found: list[AnyResult] = []

        def read() -> None:
            from django.db import connections

            found.append(backend.get_result(result.id))
            connections.close_all()

        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        assert found == [result]

    @needs("supports_get_result")
    def test_result_keeps_what_using_changed(self, jobs: ModuleType, backend: BaseTaskBackend) -> None:
        changes: dict[str, Any] = {"priority": 7} if backend.supports_priority else {}
        if backend.supports_defer:
            changes["run_after"] = timezone.now() + timedelta(days=1)
        if other := sorted(set(backend.queues) - {"default"})[:1]:
            changes["queue_name"] = other[0]
        task = jobs.echo.using(**changes)
        found = task.get_result(task.enqueue(1).id)
        assert {name: getattr(found.task, name) for name in changes} == changes

    # failures

    @needs("supports_get_result")
    def test_each_attempt_has_its_error(self, jobs: ModuleType, finish: Finish) -> None:
        result = finish(jobs.fail_with_attempt.enqueue())
        assert (result.status, result.attempts) == (TaskResultStatus.FAILED, self.attempts)
        assert result.attempts == len(result.worker_ids) == len(result.errors)
        for number, error in enumerate(result.errors, 1):
            assert error.exception_class_path == "builtins.ValueError"
            assert error.exception_class is ValueError
            assert error.traceback.startswith("Traceback")
            assert "in fail_with_attempt" in error.traceback
            assert error.traceback.rstrip().endswith(f"ValueError: attempt {number} after {number - 1} errors")
        assert result.started_at <= result.last_attempted_at <= result.finished_at
        assert (result.started_at == result.last_attempted_at) is (self.attempts == 1)

    @needs("supports_get_result")
    def test_failure_has_no_return_value(self, jobs: ModuleType, finish: Finish) -> None:
        result = finish(jobs.fail.enqueue("no"))
        with pytest.raises(ValueError, match="failed"):
            _ = result.return_value

    @needs("supports_get_result")
    def test_exception_need_not_be_pickled(self, jobs: ModuleType, finish: Finish) -> None:
        error = finish(jobs.fail_unpicklably.enqueue()).errors[0]
        assert error.exception_class is jobs.UnpicklableError
        assert "two arguments" in error.traceback

    @needs("supports_get_result")
    def test_exit_of_a_task_is_its_failure(self, jobs: ModuleType, finish: Finish) -> None:
        left, later = jobs.leave.enqueue(), jobs.echo.enqueue(1)
        assert finish(left).errors[0].exception_class is SystemExit
        assert finish(later).status == TaskResultStatus.SUCCESSFUL

    @needs("supports_get_result", "on_demand")
    def test_failed_attempt_is_ready_again(self, jobs: ModuleType, step: Step) -> None:
        if self.attempts < 2:
            pytest.skip("there is one attempt only")
        result = jobs.fail.enqueue("again")
        step()
        result.refresh()
        assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.READY, False, 1)
        assert (len(result.errors), result.finished_at) == (1, None)

    # coroutines

    @needs("supports_async_task", "supports_get_result")
    def test_coroutine_is_awaited(self, jobs: ModuleType, finish: Finish) -> None:
        assert finish(jobs.echo_async.enqueue([1])).return_value == [1]

    @needs("supports_async_task", "supports_get_result")
    def test_failed_coroutine_has_its_error(self, jobs: ModuleType, finish: Finish) -> None:
        error = finish(jobs.fail_async.enqueue("in a coroutine")).errors[0]
        assert error.exception_class is ValueError
        assert "in a coroutine" in error.traceback

    # context

    @needs("supports_get_result")
    def test_context_has_the_running_result(self, jobs: ModuleType, finish: Finish) -> None:
        result = finish(jobs.describe_context.enqueue("argument"))
        assert result.return_value == [1, result.id, "RUNNING", 1, ["argument"]]
        assert result.args == ["argument"]

    # time and order

    @needs("supports_defer", "supports_get_result")
    def test_task_waits_for_its_time(self, jobs: ModuleType, finish: Finish) -> None:
        moment = timezone.now() + timedelta(seconds=DEFER_SECONDS)
        result = finish(jobs.nothing.using(run_after=moment).enqueue())
        assert result.started_at >= moment - timedelta(seconds=CLOCK_SKEW_SECONDS)

    @needs("supports_defer", "supports_get_result")
    def test_time_may_be_years_ahead(self, jobs: ModuleType, step: Step, finish: Finish) -> None:
        result = jobs.nothing.using(run_after=timezone.now() + timedelta(days=1_000)).enqueue()
        finish(jobs.nothing.enqueue())
        result.refresh()
        assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)

    @needs("supports_priority", "supports_get_result", "on_demand")
    def test_greater_priority_is_executed_first(self, jobs: ModuleType, finish: Finish) -> None:
        results = [jobs.nothing.using(priority=priority).enqueue() for priority in (0, -50, 50)]
        low, middle, high = (finish(results[index]).started_at for index in (1, 0, 2))
        assert high < middle < low

    # signals

    def test_sent_task_is_announced(self, jobs: ModuleType, backend: BaseTaskBackend) -> None:
        with received(task_enqueued) as seen:
            result = jobs.echo.enqueue(1)
        assert [(sender, found.id) for sender, found, _, _ in seen] == [(type(backend), result.id)]

    @needs("on_demand", "supports_get_result")
    def test_start_and_success_are_announced(self, jobs: ModuleType, backend: BaseTaskBackend, finish: Finish) -> None:
        with received(task_started, task_finished) as seen:
            result = finish(jobs.echo.enqueue(1))
        assert [status for _, _, status, _ in seen] == [TaskResultStatus.RUNNING, TaskResultStatus.SUCCESSFUL]
        assert {(sender, found.id) for sender, found, _, _ in seen} == {(type(backend), result.id)}
        assert seen[1][1].return_value == [[1], {}]

    @needs("on_demand", "supports_get_result")
    def test_failure_is_announced_with_its_exception(self, jobs: ModuleType, finish: Finish) -> None:
        for task in (jobs.fail, jobs.fail_async):
            with received(task_finished) as seen:
                finish(task.enqueue("told"))
            ((_, found, status, error),) = seen
            assert (status, found.attempts, len(found.errors)) == (
                TaskResultStatus.FAILED,
                self.attempts,
                self.attempts,
            )
            assert isinstance(error, ValueError)
            assert str(error) == "told"


Received: TypeAlias = list[tuple[type, Any, Any, BaseException | None]]
"""Sender, result, its status, and the exception that is handled, of each signal."""


@contextmanager
def received(*signals: Signal) -> Iterator[Received]:
    """Collect the signals that are sent in a block."""
    seen: Received = []

    def receive(sender: type, task_result: AnyResult, **_: Any) -> None:
        seen.append((sender, task_result, task_result.status, sys.exc_info()[1]))

    for signal in signals:
        signal.connect(receive)
    try:
        yield seen
    finally:
        for signal in signals:
            signal.disconnect(receive)


def made(func: Callable[..., Any], *, takes_context: bool = False) -> AnyTask:
    """Return a function as a task of the back end under test."""
    return task_backends["default"].task_class(
        func=func, priority=0, queue_name="default", backend="default", takes_context=takes_context, run_after=None
    )
