"""Error reporters report each failure, and never break a task."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.views.debug import SafeExceptionReporterFilter
from django_q import conf, reporters
from django_q.context import current_task, running
from django_q.exceptions import WorkerDied
from django_q.functions import resolve
from django_q.reporters import ErrorReporter
from django_q.settings import ClusterSettings, current_settings
from django_q.wire.package import new_package

CLEANSED = SafeExceptionReporterFilter.cleansed_substitute

if TYPE_CHECKING:
    from collections.abc import Iterator

reports: list[tuple[str, BaseException | None, str | None]] = []


class Listening:
    """Reporter that keeps its reports."""

    def __init__(self, name: str = "it") -> None:
        self.name = name

    def report(self) -> None:
        task = current_task()
        reports.append((self.name, sys.exc_info()[1], task and task.id))


class Broken:
    """Reporter that cannot report."""

    def report(self) -> None:
        raise ConnectionError("no such host")


class Unusable:
    """Reporter that cannot be created."""

    def __init__(self) -> None:
        raise ValueError("no key")


class Sending:
    """Reporter that sends later."""

    flushed: list[float] = []

    def report(self) -> None:
        raise AssertionError("nothing to report")

    def flush(self, seconds: float) -> None:
        self.flushed.append(seconds)


class Hanging:
    """Reporter that waits for its service."""

    answer = threading.Event()
    calls = 0

    def report(self) -> None:
        type(self).calls += 1
        self.answer.wait()


class Hostile:
    """Argument whose text form raises."""

    def __repr__(self) -> str:
        raise SystemExit(3)


def log_in(user: str, password: str, options: dict[str, int]) -> None:
    """Task with a secret."""


@contextmanager
def reporting() -> Iterator[None]:
    """Report the exception of a block."""
    try:
        yield
    except KeyError:
        reporters.report()
        raise


@pytest.fixture(autouse=True)
def registry(monkeypatch) -> Iterator[None]:
    reports.clear()
    Sending.flushed.clear()
    Hanging.answer.clear()
    Hanging.calls = 0
    kinds = {
        "listening": Listening,
        "broken": Broken,
        "unusable": Unusable,
        "sending": Sending,
        "hanging": Hanging,
    }
    monkeypatch.setattr(reporters.REPORTERS, "load", kinds.__getitem__)
    reporters._made.forget()
    yield
    Hanging.answer.set()


@pytest.fixture
def settings(settings) -> None:
    settings.Q_CLUSTER = {"error_reporter": {"listening": {"name": "theirs"}}}


def test_reporter_has_its_options_and_the_handled_exception(settings) -> None:
    with pytest.raises(KeyError) as caught, reporting():
        {}["oh"]
    assert reports == [("theirs", caught.value, None)]


def test_error_that_was_not_raised_is_reported(settings) -> None:
    error = WorkerDied("killed by SIGKILL")
    reporters.report(error)
    assert reports == [("theirs", error, None)]
    assert sys.exc_info() == (None, None, None)


def test_reporter_can_read_the_failed_task(settings) -> None:
    with running(new_package("math.floor", task_id="0" * 32)):
        reporters.report(ValueError("oh"))
    assert reports[0][2] == "0" * 32


def test_reporter_that_raises_is_logged_and_others_report(caplog) -> None:
    ErrorReporter([Broken(), Listening()]).report(ValueError("oh"))
    assert len(reports) == 1
    assert "Error reporter Broken failed" in caplog.text


@pytest.fixture
def settings_of():
    """Return a function that creates settings of a cluster."""
    return lambda **keys: ClusterSettings.from_mapping(keys)


def test_invalid_reporter_is_logged_and_others_report(settings_of, caplog) -> None:
    settings = settings_of(error_reporter={"unusable": {}, "unknown": {}, "listening": {}})
    reporters.report(ValueError("oh"), settings)
    assert len(reports) == 1
    assert "'unusable' could not be started" in caplog.text
    assert "'unknown' could not be started" in caplog.text


def test_reporters_are_created_once_in_a_process(settings_of, caplog) -> None:
    settings = settings_of(error_reporter={"unusable": {}})
    reporters.start(settings)
    reporters.report(ValueError("oh"), settings)
    assert caplog.text.count("could not be started") == 1


def test_no_reporter_is_created_without_settings(settings_of) -> None:
    reporters.start(settings_of())
    reporters.report(ValueError("oh"), settings_of())
    assert not reporters._made.get()


def test_broken_reporter_is_logged_once(settings_of, caplog) -> None:
    settings = settings_of(error_reporter={"broken": {}, "listening": {}})
    for _ in range(2):
        reporters.report(ValueError("oh"), settings)
    assert caplog.text.count("Error reporter Broken failed") == 1
    assert len(reports) == 2


def test_reporter_that_hangs_delays_a_process_once(settings_of, monkeypatch, caplog) -> None:
    monkeypatch.setattr(reporters, "REPORT_SECONDS", 0.1)
    settings = settings_of(error_reporter={"hanging": {}})
    began = time.monotonic()
    for _ in range(20):
        reporters.report_in_time(ValueError("oh"), settings)
    assert time.monotonic() - began < 1.0
    assert Hanging.calls == 1
    assert caplog.text.count("did not return within 0.1 seconds") == 1


def test_report_of_a_process_that_ends_is_flushed(settings_of, monkeypatch) -> None:
    flushed: list[float] = []
    monkeypatch.setattr(Listening, "flush", lambda _, seconds: flushed.append(seconds), raising=False)
    error, settings = ValueError("oh"), settings_of(error_reporter={"listening": {}})
    reporters.report_in_time(error, settings)
    assert flushed == []
    reporters.report_in_time(error, settings, last=True)
    assert reports == [("it", error, None)] * 2
    assert flushed == [reporters.FLUSH_SECONDS]


def test_reports_are_flushed_if_a_reporter_can(settings_of, caplog) -> None:
    settings = settings_of(error_reporter={"listening": {}, "sending": {}})
    reporters.flush(settings, 0.5)
    assert not reporters._made.get()
    reporters.start(settings)
    reporters.flush(settings, 0.5)
    assert Sending.flushed == [0.5]
    assert not caplog.records


def test_details_name_the_task_and_its_arguments(settings_of) -> None:
    package = new_package("math.copysign", (2,), {"y": "text", "password": "hunter2"}, group="some", name="sign")
    resolve("math.copysign")
    with running({**package, "schedule": "7"}, 3):
        details = reporters.task_details()
    assert details == {
        "id": package["id"],
        "name": "sign",
        "function": "math.copysign",
        "attempt": 3,
        "queue": current_settings().list_key,
        "group": "some",
        "schedule": "7",
        "arguments": {"x": "2", "y": "'text'", "password": f"'{CLEANSED}'"},
    }


def test_details_hide_secrets_in_positional_arguments() -> None:
    resolve(f"{log_in.__module__}.log_in")
    for func in (log_in, f"{log_in.__module__}.log_in"):
        with running(new_package(func, ("me", "hunter2", {"api_token": 1}))):
            arguments = reporters.task_details()["arguments"]
        assert arguments == {"user": "'me'", "password": f"'{CLEANSED}'", "options": f"{{'api_token': '{CLEANSED}'}}"}


@pytest.mark.parametrize("value", [Hostile(), "x" * 100_000, [Hostile()], "\0\ud800"])
def test_details_of_hostile_arguments_are_short_texts(value) -> None:
    with running(new_package("a.module.that_is_not_imported", (value,) * 60)):
        arguments = reporters.task_details()["arguments"]
    assert len(arguments) == 50
    assert all(type(each) is str and len(each) < 1_100 for each in arguments.values())
    assert "a.module" not in sys.modules
    json.dumps(arguments).encode()


def test_there_are_no_details_outside_of_tasks() -> None:
    assert reporters.task_details() is None


def test_old_name_in_conf_is_the_reporter(settings) -> None:
    conf.error_reporter.report()
    assert reports == [("theirs", None, None)]
