"""Captures the tasks that a test sends, and executes them in its process when the test asks for it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from django.utils import timezone

from django_q.brokers.memory import MemoryBroker
from django_q.brokers.memory_queue import MemoryQueue
from django_q.clock import in_project_time
from django_q.execution import Executor
from django_q.finishing import Finisher, is_last
from django_q.functions import describe
from django_q.schedules.due import DueSchedules
from django_q.settings import ClusterSettings, current_settings
from django_q.testing.changed_settings import changed_cluster
from django_q.testing.commits import run_commit_callbacks
from django_q.wire.codec import PackageCodec
from django_q.wire.outcome import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from django_q.brokers import Delivery
    from django_q.wire.package import TaskPackage

MAX_TASKS: Final = 10_000
"""Maximum number of tasks that one call executes. A task that sends itself again would never end."""

NO_OPTIONS: Final = frozenset({"id", "name", "func", "args", "kwargs", "started", "chain_started"})
"""Keys of a package that are no options of the task."""


@dataclass(frozen=True, kw_only=True)
class SentTask:
    """Task that was queued."""

    id: str
    """Id of the task."""
    name: str
    """Name of the task."""
    func: str
    """Dotted path of its function."""
    args: tuple[Any, ...]
    """Positional arguments, as a worker receives them."""
    kwargs: Mapping[str, Any]
    """Keyword arguments, as a worker receives them."""
    queue: str
    """Queue that it was sent to."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options that its package contains, and `delay` in seconds."""

    def __str__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.func}({', '.join(given)}) with {dict(self.options)}"


@dataclass(frozen=True, kw_only=True)
class FinishedTask:
    """Attempt that `run_tasks` executed."""

    id: str
    """Id of the task."""
    name: str
    """Name of the task."""
    func: str
    """Dotted path of its function."""
    attempt: int
    """Attempt number, from 1."""
    success: bool
    """True if the function returned."""
    result: Any
    """Return value, or the text of the failure."""
    exception: BaseException | None
    """Exception of the function; None for a success."""


class CapturedTasks:
    """Tasks that are sent while they are captured, in the order of sending, and a clock that can be moved."""

    def __init__(self) -> None:
        self.queues: dict[str, MemoryQueue] = {}
        """Queues by name."""
        self.ahead = timedelta()
        """Time by which the clock was moved."""
        self._sent: list[SentTask] = []
        self._shows_clock = False
        """True while `timezone.now` returns the time of the clock."""

    @property
    def sent(self) -> list[SentTask]:
        """The tasks that were sent.

        Functions of `transaction.on_commit` are called first if only the transactions of a `TestCase` are open.
        """
        run_commit_callbacks()
        return [*self._sent]

    @property
    def now(self) -> datetime:
        """The time of the clock."""
        return timezone.now() + (timedelta() if self._shows_clock else self.ahead)

    def queue(self, name: str) -> MemoryQueue:
        """Return a queue, which is created on first use."""
        return self.queues.setdefault(name, MemoryQueue(lambda: time.monotonic() + self.ahead.total_seconds()))

    def note(self, packages: Sequence[str], queue: str, delay: float = 0) -> None:
        """Note that packages were queued."""
        for each in packages:
            package: TaskPackage = PackageCodec.of(current_settings()).loads(each)
            options = {key: value for key, value in package.items() if key not in NO_OPTIONS}
            self._sent.append(
                SentTask(
                    id=package["id"],
                    name=package["name"],
                    func=describe(package["func"]),
                    args=package["args"],
                    kwargs=package["kwargs"],
                    queue=queue,
                    options=options | ({"delay": delay} if delay else {}),
                )
            )

    def assert_sent(
        self,
        func: str | Callable[..., Any],
        *,
        times: int | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[SentTask]:
        """Check that a task was sent, and return the tasks that match.

        Args:
            func: the function, or its dotted path.
            times: exact number of matching tasks; None means at least one.
            args: positional arguments that they have; None for any.
            kwargs: keyword arguments that they have; None for any.
            **options: options that they have. `queue` is the name of the queue. `delay` is in seconds, and may differ
                by one, because time passes.

        Raises:
            AssertionError: another number of tasks match; the message lists all that were sent.
        """
        path = describe(func)

        def matches(task: SentTask) -> bool:
            given = {"queue": task.queue, **task.options}
            return (
                task.func == path
                and (args is None or tuple(args) == task.args)
                and (kwargs is None or dict(kwargs) == dict(task.kwargs))
                and all(is_same(name, given.get(name), value) for name, value in options.items())
            )

        sent = self.sent
        found = [task for task in sent if matches(task)]
        if len(found) == times or (times is None and found):
            return found
        wanted = "at least one" if times is None else times
        lines = "".join(f"\n  {task}" for task in sent) or " nothing"
        raise AssertionError(f"{path} was sent {len(found)} times, not {wanted}. Sent:{lines}")

    def run(self, until: datetime | timedelta | None = None) -> list[FinishedTask]:
        """Execute the tasks that wait, those that they send, and their hooks, in this process.

        Args:
            until: time to which the clock is moved, or the time by which it is moved. Delayed tasks, further attempts
                and schedules that are due until then are executed at their time, in order. None executes what is due.

        Returns:
            The attempts, in the order of their execution.

        Raises:
            RuntimeError: tasks send further tasks without end.
        """
        run_commit_callbacks()
        end = None if until is None else self.now + until if isinstance(until, timedelta) else in_project_time(until)
        finished: list[FinishedTask] = []
        while True:
            with self._moved():
                self._execute(finished)
            due = None if end is None else self._next_due()
            if end is None or due is None or due > end:
                break
            self._move_to(due)
            with self._moved():
                self._schedules().run_pass()
        if end is not None:
            self._move_to(end)
        return finished

    def clear(self) -> None:
        """Forget all tasks that were sent, executed or not."""
        self._sent.clear()
        self.queues.clear()

    # execution

    @contextmanager
    def _moved(self) -> Iterator[None]:
        """Let `timezone.now` return the time of the clock, unless the clock was never moved."""
        if not self.ahead:
            yield
            return
        now, ahead = timezone.now, self.ahead

        def moved_now() -> datetime:
            return now() + ahead

        self._shows_clock = True
        try:
            with mock.patch.object(timezone, "now", moved_now):
                yield
        finally:
            self._shows_clock = False

    def _execute(self, finished: list[FinishedTask]) -> None:
        """Execute the tasks that wait, one after another, until none is left."""
        while taken := next(((name, each) for name in self.queues for each in CapturingBroker(name).take_one()), None):
            if len(finished) >= MAX_TASKS:
                raise RuntimeError(f"{MAX_TASKS} tasks were executed, and more wait: does a task send itself?")
            finished.append(self._attempt(*taken))
            run_commit_callbacks()

    def _attempt(self, name: str, delivery: Delivery) -> FinishedTask:
        settings = settings_of(name)
        broker = CapturingBroker(name, settings=settings)

        def last(package: Mapping[str, Any], attempt: int) -> bool:
            return is_last(package.get("ack_failure"), attempt, settings=settings, broker=broker)

        executor, finisher = Executor(settings, is_last=last), Finisher(settings, broker)
        package = executor.codec.loads(delivery.package)
        outcome = executor.execute(package, ack_id=delivery.ack_id, attempt=delivery.attempt)
        finisher.finish([outcome])
        return FinishedTask(
            id=outcome.id,
            name=outcome.name,
            func=outcome.func,
            attempt=outcome.attempt,
            success=outcome.success,
            result=decode(outcome.result),
            exception=executor.exception,
        )

    # the clock

    def _move_to(self, moment: datetime) -> None:
        self.ahead += max(moment - self.now, timedelta())

    def _next_due(self) -> datetime | None:
        """Return the time at which the next delayed task or schedule is due; None if there is none."""
        delays = [each[0] - queue.clock() for queue in self.queues.values() for each in queue.hidden[:1]]
        times = [self.now + timedelta(seconds=max(delay, 0)) for delay in delays]
        slots = self._schedules().ours(self.now).order_by("next_run").values_list("next_run", flat=True)
        return min([*times, *map(in_project_time, slots[:1])], default=None)

    @staticmethod
    def _schedules() -> DueSchedules:
        settings = current_settings()
        return DueSchedules(settings, CapturingBroker(settings.list_key, settings=settings))


def is_same(name: str, given: Any, expected: Any) -> bool:
    """Return True if a task has an expected option."""
    if name == "delay" and given is not None:
        return bool(abs(given - expected) <= 1)
    return bool(given == expected)


def settings_of(queue: str) -> ClusterSettings:
    """Return the settings of the cluster that consumes a queue."""
    settings = current_settings()
    return settings if queue == settings.list_key else ClusterSettings.from_django(queue)


class CapturingBroker(MemoryBroker):
    """Memory broker whose queues belong to the innermost `captured_tasks`."""

    def _queue(self) -> MemoryQueue:
        return active().queue(self.list_key)

    def take_one(self) -> list[Delivery]:
        """Lease the next package, if there is one."""
        return self.dequeue_many(1, 0)

    def enqueue(self, package: str, *, delay: float = 0, priority: int = 0) -> int:
        """Append a package, visible after *delay* seconds, and return its id."""
        number = super().enqueue(package, delay=delay, priority=priority)
        active().note([package], self.list_key, delay)
        return number

    def enqueue_many(self, packages: Sequence[str], *, priority: int = 0) -> list[int]:
        """Append packages and return their ids."""
        numbers = super().enqueue_many(packages, priority=priority)
        active().note(packages, self.list_key)
        return numbers


_active: list[CapturedTasks] = []


def active() -> CapturedTasks:
    """Return the innermost captured tasks.

    Raises:
        RuntimeError: tasks are not captured.
    """
    if not _active:
        raise RuntimeError("Tasks are not captured here: use captured_tasks(), CapturedTasksMixin or django_q_tasks.")
    return _active[-1]


@contextmanager
def captured_tasks(**settings: Any) -> Iterator[CapturedTasks]:
    """Return a context manager that captures all tasks instead of sending them to the broker of the settings.

    Args:
        **settings: keys of `Q_CLUSTER` that replace those of the project.
    """
    captured = CapturedTasks()
    with changed_cluster(**{"sync": False, **settings, "broker_class": CapturingBroker}):
        _active.append(captured)
        try:
            yield captured
        finally:
            _active.remove(captured)


def sent_tasks() -> list[SentTask]:
    """Return the tasks that were sent: see `CapturedTasks.sent`."""
    return active().sent


def assert_sent(func: str | Callable[..., Any], *, times: int | None = None, **expected: Any) -> list[SentTask]:
    """Check that a task was sent: see `CapturedTasks.assert_sent`."""
    return active().assert_sent(func, times=times, **expected)


def run_tasks(until: datetime | timedelta | None = None) -> list[FinishedTask]:
    """Execute the tasks that wait: see `CapturedTasks.run`."""
    return active().run(until)


@contextmanager
def immediate() -> Iterator[None]:
    """Return a context manager in which tasks are executed by the call that sends them.

    Their exceptions are raised there. Tasks that wait for a commit are executed at the end of the block at the latest,
    if only the transactions of a `TestCase` are open.
    """
    with changed_cluster(sync=True, sync_raises=True):
        yield
        run_commit_callbacks()


class CapturedTasksMixin:
    """Mixin for test cases: captures the tasks of each test, as the attribute `tasks`."""

    tasks: CapturedTasks
    """The tasks of the running test."""

    def setUp(self) -> None:
        """Begin to capture."""
        super().setUp()  # type: ignore[misc]
        self.tasks = self.enterContext(captured_tasks())  # type: ignore[attr-defined]
