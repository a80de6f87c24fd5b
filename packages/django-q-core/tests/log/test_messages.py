"""All messages: each is an event with a name, a text that fits its values, and plain fields."""

from __future__ import annotations

import inspect
import logging

import pytest
from django_q.execution.outcome_builder import OutcomeBuilder
from django_q.log import messages
from django_q.log.events import Event, Message, event, logger
from django_q.log.fields import ATTRIBUTES
from django_q.models import Batch, Schedule, Task
from django_q.settings import ClusterSettings
from django_q.wire.package import new_package

TOPICS = [getattr(messages, name) for name in messages.__all__]
FUNCTIONS = [
    (topic, name, value)
    for topic in TOPICS
    for name, value in vars(topic).items()
    if callable(value) and getattr(value, "__module__", "") == topic.__name__ and not name.startswith("_")
]

HOSTILE = "two\nlines \ud800" + "x" * 10_000

PACKAGE = new_package("math.floor", (1.5,), task_id="0" * 32, name="a-b-c-d", group="g")
HOSTILE_PACKAGE = new_package(HOSTILE, task_id=HOSTILE, name=HOSTILE, group=HOSTILE)


class Unprintable:
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


def outcome(package):
    settings = ClusterSettings.from_mapping({"name": "q"})
    return OutcomeBuilder(settings).failed(package, "because", attempt=2)


def arguments(function, package, text):
    """Arguments of a message by the annotations of its parameters."""
    error = ValueError(text)
    values = {
        "str": text, "int": 1, "float": 1.5, "str | None": None, "bool": True, "Exception": error,
        "BaseException": error,
        "BaseException | None": None, "object": print, "Mapping[str, Any]": package, "Sequence[str]": [text],
        "Outcome": outcome(package), "Outcome | None": outcome(package), "Schedule": Schedule(name=text, pk=1),
        "Task": Task(id=text, name=text, func=text, attempt_count=2), "Batch": Batch(pk=text),
    }  # fmt: skip
    parameters = inspect.signature(function.message).parameters
    return {name: values[parameter.annotation] for name, parameter in parameters.items()}


def test_each_topic_has_events():
    assert {topic for topic, _, _ in FUNCTIONS} == set(TOPICS)


@pytest.mark.parametrize(("topic", "name", "function"), FUNCTIONS, ids=lambda value: getattr(value, "name", ""))
def test_each_message_is_an_event(topic, name, function):
    assert isinstance(function, Event)
    assert function.name == f"{topic.__name__.rpartition('.')[2]}.{name}"
    assert function.__doc__.startswith("Log ")


def test_names_of_events_are_unique():
    names = [function.name for _, _, function in FUNCTIONS]
    assert len(names) == len(set(names)) > 80


@pytest.mark.parametrize("function", [each[2] for each in FUNCTIONS], ids=lambda value: value.name)
@pytest.mark.parametrize("package", [PACKAGE, HOSTILE_PACKAGE], ids=["plain", "hostile"])
def test_text_fits_its_values_and_fields_are_plain(function, package):
    message = function.message(**arguments(function, package, "plain" if package is PACKAGE else HOSTILE))
    assert message.text % message.args
    for attribute, value in (message.fields or {}).items():
        assert attribute in ATTRIBUTES.values()
        assert type(value) in (str, int, float, type(None))
        assert "\n" not in str(value)
        assert len(str(value)) <= 1000
        str(value).encode()


@pytest.fixture
def logged(caplog, monkeypatch):
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.DEBUG, "django-q")
    return caplog


def test_record_carries_the_event_and_the_task(logged):
    messages.task.processing("Process-1:1", PACKAGE, 3)
    (record,) = logged.records
    assert record.getMessage() == "Process-1:1 processing a-b-c-d 'math.floor' [g]"
    assert (record.django_q_event, record.levelname) == ("task.processing", "INFO")
    assert (record.django_q_task_id, record.django_q_task_name) == ("0" * 32, "a-b-c-d")
    assert (record.django_q_func, record.django_q_attempt) == ("math.floor", 3)


def test_record_names_the_line_that_logged_it(logged):
    messages.worker.ready("Process-1:1")
    assert logged.records[0].pathname == __file__


def test_enqueued_record_has_the_queue_of_its_task(logged):
    messages.task.enqueued(PACKAGE, "other")
    assert (logged.records[0].django_q_queue, logged.records[0].django_q_task_id) == ("other", "0" * 32)


@pytest.mark.parametrize("package", [PACKAGE | {"name": Unprintable(), "func": Unprintable(), "id": Unprintable()}])
def test_values_that_cannot_be_printed_are_described(logged, package):
    messages.task.processing("Process-1:1", package, 1)
    assert logged.records[0].django_q_task_name == "<unprintable Unprintable>"
    assert logged.records[0].django_q_func == "<unprintable Unprintable>"


def test_message_of_a_disabled_level_is_not_made(caplog):
    @event(logging.INFO)
    def asked() -> Message:
        raise AssertionError

    caplog.set_level(logging.WARNING, "django-q")
    asked()
    caplog.set_level(logging.INFO, "django-q")
    with pytest.raises(AssertionError):
        asked()
