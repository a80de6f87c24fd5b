"""Error reporters report each failure, and never break a task."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django_q import conf, reporters
from django_q.context import current_task, running
from django_q.exceptions import WorkerDied
from django_q.reporters import ErrorReporter
from django_q.settings import ClusterSettings
from django_q.wire.package import new_package

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


@contextmanager
def reporting() -> Iterator[None]:
    """Report the exception of a block."""
    try:
        yield
    except KeyError:
        reporters.report()
        raise


@pytest.fixture(autouse=True)
def registry(monkeypatch) -> None:
    reports.clear()
    kinds = {"listening": Listening, "broken": Broken, "unusable": Unusable}
    monkeypatch.setattr(reporters.REPORTERS, "load", kinds.__getitem__)
    reporters._reporters.cache_clear()


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


def test_reporters_are_created_once_in_a_process(settings_of) -> None:
    settings = settings_of(error_reporter={"unusable": {}})
    reporters.report(ValueError("oh"), settings)
    assert reporters._reporters.cache_info().misses == 1
    reporters.report(ValueError("oh"), settings)
    assert reporters._reporters.cache_info().misses == 1


def test_no_reporter_is_created_without_settings(settings_of) -> None:
    reporters.report(ValueError("oh"), settings_of())
    assert reporters._reporters.cache_info().misses == 0


def test_old_name_in_conf_is_the_reporter(settings) -> None:
    conf.error_reporter.report()
    assert reports == [("theirs", None, None)]
