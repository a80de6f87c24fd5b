"""Error reporters are told of every failure, and never break a task."""

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

told: list[tuple[str, BaseException | None, str | None]] = []


class Listening:
    """Keeps what it is told."""

    def __init__(self, name: str = "it") -> None:
        self.name = name

    def report(self) -> None:
        task = current_task()
        told.append((self.name, sys.exc_info()[1], task and task.id))


class Broken:
    """Cannot report."""

    def report(self) -> None:
        raise ConnectionError("no such host")


class Unusable:
    """Cannot be made."""

    def __init__(self) -> None:
        raise ValueError("no key")


@contextmanager
def reporting() -> Iterator[None]:
    """Report what the block raises."""
    try:
        yield
    except KeyError:
        reporters.report()
        raise


@pytest.fixture(autouse=True)
def registry(monkeypatch) -> None:
    told.clear()
    kinds = {"listening": Listening, "broken": Broken, "unusable": Unusable}
    monkeypatch.setattr(reporters.REPORTERS, "load", kinds.__getitem__)
    reporters._reporters.cache_clear()


@pytest.fixture
def settings(settings) -> None:
    settings.Q_CLUSTER = {"error_reporter": {"listening": {"name": "theirs"}}}


def test_reporter_is_made_with_its_settings_and_sees_what_is_handled(settings) -> None:
    with pytest.raises(KeyError) as caught, reporting():
        {}["oh"]
    assert told == [("theirs", caught.value, None)]


def test_reporter_sees_an_error_that_nobody_raised(settings) -> None:
    error = WorkerDied("killed by SIGKILL")
    reporters.report(error)
    assert told == [("theirs", error, None)]
    assert sys.exc_info() == (None, None, None)


def test_reporter_can_ask_which_task_failed(settings) -> None:
    with running(new_package("math.floor", task_id="0" * 32)):
        reporters.report(ValueError("oh"))
    assert told[0][2] == "0" * 32


def test_reporter_that_raises_is_logged_and_the_others_are_told(caplog) -> None:
    ErrorReporter([Broken(), Listening()]).report(ValueError("oh"))
    assert len(told) == 1
    assert "Error reporter Broken failed" in caplog.text


@pytest.fixture
def settings_of():
    """Make settings of a cluster."""
    return lambda **keys: ClusterSettings.from_mapping(keys)


def test_reporter_that_cannot_be_made_is_logged_and_the_others_are_told(settings_of, caplog) -> None:
    settings = settings_of(error_reporter={"unusable": {}, "unknown": {}, "listening": {}})
    reporters.report(ValueError("oh"), settings)
    assert len(told) == 1
    assert "'unusable' could not be started" in caplog.text
    assert "'unknown' could not be started" in caplog.text


def test_reporters_are_made_once_a_process(settings_of) -> None:
    settings = settings_of(error_reporter={"unusable": {}})
    reporters.report(ValueError("oh"), settings)
    assert reporters._reporters.cache_info().misses == 1
    reporters.report(ValueError("oh"), settings)
    assert reporters._reporters.cache_info().misses == 1


def test_nothing_to_report_to_costs_nothing(settings_of) -> None:
    reporters.report(ValueError("oh"), settings_of())
    assert reporters._reporters.cache_info().misses == 0


def test_old_name_in_conf_is_the_reporters(settings) -> None:
    conf.error_reporter.report()
    assert told == [("theirs", None, None)]
