"""The text of a failure is split into message, class and traceback."""

from __future__ import annotations

import pytest
from django_q.exceptions import TaskFailed
from django_q.results.failures import FailureText

FRAMES = """Traceback (most recent call last):
  File "/srv/shop/orders.py", line 12, in ship
    raise LookupError("no such part")
"""
TRACEBACK = f"{FRAMES}LookupError: no such part"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"no such part : {TRACEBACK}", "LookupError: no such part"),
        (f"too late : {TRACEBACK}", "LookupError: too late"),
        (TRACEBACK, "LookupError: no such part"),
        (f"Odd : {FRAMES}shop.Odd", "shop.Odd"),
        (f" : {FRAMES}shop.Odd", "shop.Odd"),
        ("a : Traceback (most recent call last):", "a"),
        ("worker died", "worker died"),
        ("", ""),
    ],
)
def test_class_and_message_of_a_failure(text, error) -> None:
    assert FailureText.of(text).error == error


@pytest.mark.parametrize("message", ["no such part", "a : b: c", "first: line\nsecond: line", "ends with:"])
def test_parts_are_those_of_the_exception(message) -> None:
    text = f"{message} : {FRAMES}shop.Odd: {message}"
    assert FailureText.of(text) == (message, "shop.Odd", f"{FRAMES}shop.Odd: {message}")


def test_parts_are_the_arguments_of_the_exception() -> None:
    failed = TaskFailed(*FailureText.of(f"no such part : {TRACEBACK}"))
    assert str(failed) == "LookupError: no such part"
    assert (failed.message, failed.exception_class, failed.traceback) == ("no such part", "LookupError", TRACEBACK)


def test_traceback_of_a_cause_precedes_the_class() -> None:
    chained = (
        f"{FRAMES}KeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n{TRACEBACK}"
    )
    assert FailureText.of(f"no such part : {chained}").exception_class == "LookupError"
