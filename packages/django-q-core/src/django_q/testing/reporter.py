"""Conformance suite of error reporters: their promises as tests."""

# ruff: noqa: D102 - a test is documented by its name

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from django_q.context import running
from django_q.exceptions import WorkerDied
from django_q.reporters import handle
from django_q.testing.eventually import eventually
from django_q.wire.package import new_package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_q.reporters import Reporter
    from django_q.wire.package import TaskPackage

MAX_REPORT_SECONDS = 1.0
"""Maximum duration of `report`, because a task waits for it."""

MAX_UNREACHABLE_SECONDS = 3.0
"""Maximum duration of `flush(1)` without network."""

SECRET = "hunter2-hunter2"


class Unprintable(Exception):
    """Exception whose text form raises."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


def log_in(user: str, password: str) -> None:
    """Task with a secret."""


class ReporterConformance:
    """All promises of an error reporter.

    The service under test is a real server, which a subclass starts. It provides two fixtures and a method:

    ```python
    class TestMine(ReporterConformance):
        @pytest.fixture
        def reporter(self, service):
            return MyReporter(url=service.url)

        @pytest.fixture
        def unreachable(self):
            return MyReporter(url="http://127.0.0.1:9")

        def received(self):
            return self.service.bodies
    ```
    """

    tells_tasks: ClassVar[bool] = True
    """True if a report names the task and its arguments."""

    timeout_seconds: ClassVar[float] = 10.0
    """Maximum time in which the service under test receives a report. It is not a promise of the reporter."""

    @pytest.fixture
    def reporter(self) -> Reporter:
        """Return the reporter under test."""
        raise NotImplementedError

    @pytest.fixture
    def unreachable(self) -> Reporter:
        """Return a reporter whose service cannot be reached."""
        raise NotImplementedError

    def received(self) -> Sequence[str]:
        """Return the text of each report that the service has received."""
        raise NotImplementedError

    @pytest.fixture
    def package(self) -> TaskPackage:
        """Return the package of a task with a secret."""
        return new_package(log_in, ("me",), {"password": SECRET}, group="the group", name="the name")

    def test_exception_is_reported_with_its_task(self, reporter: Reporter, package: TaskPackage) -> None:
        with running(package, 3):
            handle(ValueError("an unlikely text"), reporter.report)
        (report,) = self._wait(reporter, 1)
        assert "an unlikely text" in report
        assert "ValueError" in report
        if self.tells_tasks:
            assert package["id"] in report
            assert "the group" in report

    def test_several_are_reported(self, reporter: Reporter) -> None:
        for number in range(3):
            handle(ValueError(f"number {number}"), reporter.report)
        reports = self._wait(reporter, 3)
        assert all(any(f"number {number}" in report for report in reports) for number in range(3))

    def test_exception_outside_of_tasks_is_reported(self, reporter: Reporter) -> None:
        handle(WorkerDied("killed by SIGKILL"), reporter.report)
        assert "killed by SIGKILL" in self._wait(reporter, 1)[0]

    def test_call_without_an_exception_raises_none(self, reporter: Reporter) -> None:
        reporter.report()

    def test_unprintable_exception_raises_none(self, reporter: Reporter, package: TaskPackage) -> None:
        with running(package):
            handle(Unprintable(), reporter.report)
        self._flush(reporter, self.timeout_seconds)

    def test_secrets_of_the_task_are_not_sent(self, reporter: Reporter, package: TaskPackage) -> None:
        with running(package):
            handle(ValueError("oh"), reporter.report)
        (report,) = self._wait(reporter, 1)
        assert SECRET not in report
        if self.tells_tasks:
            assert "password" in report

    def test_unreachable_service_costs_no_time(self, unreachable: Reporter) -> None:
        began = time.monotonic()
        handle(ValueError("oh"), unreachable.report)
        assert time.monotonic() - began < MAX_REPORT_SECONDS
        self._flush(unreachable, 1)
        assert time.monotonic() - began < MAX_UNREACHABLE_SECONDS

    def test_flush_sends_all_reports(self, reporter: Reporter) -> None:
        if not hasattr(reporter, "flush"):
            pytest.skip("the reporter has no flush: it sends each report at once")
        for _ in range(3):
            handle(ValueError("oh"), reporter.report)
        self._flush(reporter, self.timeout_seconds)
        assert len(self.received()) == 3

    def test_forked_process_reports(self, reporter: Reporter) -> None:
        if "fork" not in multiprocessing.get_all_start_methods():
            pytest.skip("this system does not fork")
        handle(ValueError("of the parent"), reporter.report)
        self._wait(reporter, 1)

        def work() -> None:
            handle(ValueError("of the child"), reporter.report)
            self._flush(reporter, self.timeout_seconds)

        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join(2 * self.timeout_seconds)
        assert child.exitcode == 0
        assert "of the child" in self._wait(reporter, 2)[-1]

    def _wait(self, reporter: Reporter, count: int) -> Sequence[str]:
        """Return the reports as soon as there are so many of them."""
        self._flush(reporter, self.timeout_seconds)
        eventually(lambda: len(self.received()) >= count, within=self.timeout_seconds)
        reports = self.received()
        assert len(reports) == count
        return reports

    def _flush(self, reporter: Reporter, seconds: float) -> None:
        flush: Any = getattr(reporter, "flush", None)
        if flush is not None:
            flush(seconds)
