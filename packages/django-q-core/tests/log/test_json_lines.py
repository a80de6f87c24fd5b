"""Lines of JSON: valid for any record."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from django_q.context import TaskFilter, running
from django_q.log import JsonFormatter, messages
from django_q.log.events import logger
from django_q.wire.package import new_package

PACKAGE = new_package("math.floor", (1.5,), task_id="0" * 32, name="a-b-c-d")


class Evil(Exception):
    def __str__(self):
        raise RuntimeError

    def __eq__(self, other):
        raise RuntimeError

    __repr__ = __str__
    __hash__ = Exception.__hash__


class Text(str):
    __slots__ = ()

    def __str__(self):
        raise RuntimeError


class Box(dict):
    def items(self):
        raise RuntimeError


def a_list_in_itself():
    found = []
    found.append(found)
    return found


def refuse(constant):
    raise AssertionError(constant)


def record_of(message="hello", *args, level=logging.INFO, exc_info=None, extra=None):
    return logging.getLogger("shop").makeRecord("shop", level, "f", 1, message, args, exc_info, extra=extra)


def parsed(record, stamped=False):
    if stamped:
        TaskFilter().filter(record)
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    found = json.loads(line, parse_constant=refuse)
    json.dumps(found, ensure_ascii=False).encode()  # no lone surrogates
    return found


def test_line_has_time_level_logger_process_and_message():
    record = record_of("costs %d", 7)
    record.created = 1.5
    found = parsed(record)
    assert (found["level"], found["logger"], found["message"]) == ("INFO", "shop", "costs 7")
    assert (found["process"], found["pid"]) == ("MainProcess", record.process)
    assert datetime.fromisoformat(found["time"]) == datetime.fromtimestamp(1.5, UTC)
    assert found.keys() == {"time", "level", "logger", "process", "pid", "message"}


def test_fields_have_their_short_names(caplog, monkeypatch):
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, "django-q")
    messages.task.processing("Process-1:1", PACKAGE, 2)
    found = parsed(caplog.records[0], stamped=True)
    assert found["event"] == "task.processing"
    assert (found["task_id"], found["task_name"], found["func"]) == ("0" * 32, "a-b-c-d", "math.floor")
    assert found["attempt"] == 2
    assert "extra" not in found
    assert "duration" not in found


def test_extra_of_a_project_is_apart():
    with running(PACKAGE):
        found = parsed(record_of(extra={"task_id": 7, "event": "paid", "q": [1, {"a": None}]}), stamped=True)
    assert (found["task_id"], found["task_name"]) == ("0" * 32, "a-b-c-d")
    assert found["extra"] == {"task_id": 7, "event": "paid", "q": [1, {"a": None}]}


@pytest.mark.parametrize("stamped", [False, True])
def test_record_without_extra_has_none(stamped):
    assert "extra" not in parsed(record_of(), stamped=stamped)


def test_traceback_is_a_member():
    try:
        raise ValueError("a\nb \ud800")
    except ValueError:
        found = parsed(record_of(exc_info=sys.exc_info()))
    assert found["traceback"].startswith("Traceback (most recent call last)")
    assert found["message"] == "hello"


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("two\nlines\r\x85\u2028\0", ()),
        ("\ud800 %s", ("\udfff",)),
        ("%s", (Evil(),)),
        ("%d", ("no number",)),
        ("%s %s", ("one",)),
        (Evil(), ()),
        ("é 漢 😀", ()),
        ("x" * 1_000_000, ()),
    ],
    ids=["line breaks", "surrogates", "evil", "type", "count", "object", "not ASCII", "huge"],
)
def test_any_message_is_one_valid_line(message, args):
    assert len(parsed(record_of(message, *args))["message"]) <= 100_000


@pytest.mark.parametrize(
    "value",
    [
        "\ud800", "a\nb\0", math.nan, math.inf, 10**5000, -(2**80), b"\xff", object(), Evil(), Text("a"), {1, 2},
        a_list_in_itself(), {"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}}, {1: 2, None: 3, Evil(): 4}, Box(a=1), (1, 2),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_any_extra_is_one_valid_line(value):
    assert "extra" in parsed(record_of(extra={"value": value, "task_id": value}))


def test_plain_extra_keeps_its_types():
    extra = {"a": 1, "b": 1.5, "c": True, "d": None, "e": "é", "f": [1, "x"], "g": {"h": 2}}
    assert parsed(record_of(extra=extra))["extra"] == extra


def test_evil_exception_is_one_valid_line():
    found = parsed(record_of(exc_info=(Evil, Evil(), None)))
    assert "Evil" in found["traceback"]


def test_formatter_and_filter_do_not_create_the_logger():
    # By default, `LOGGING` disables loggers that exist when it is read, and it imports these two.
    code = "import logging, django_q.log, django_q.context; assert 'django-q' not in logging.root.manager.loggerDict"
    subprocess.run([sys.executable, "-c", code], check=True)
