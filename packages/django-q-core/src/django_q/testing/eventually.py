"""Waits for a condition in tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def eventually(condition: Callable[[], T], within: float = 5.0, every: float = 0.02) -> T:
    """Call *condition* until its value is true, and return that value.

    Args:
        condition: function without arguments.
        within: maximum duration in seconds.
        every: pause between two calls in seconds.

    Raises:
        AssertionError: no value was true within that time.
    """
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s; the last value was {value!r}")
        time.sleep(every)
    return value
