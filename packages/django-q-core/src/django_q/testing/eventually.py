"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def eventually(condition: Callable[[], T], within: float = 5.0, every: float = 0.02) -> T:
    """What *condition* gives as soon as that is true; an AssertionError when it is not, *within* so many seconds."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s; the last value was {value!r}")
        time.sleep(every)
    return value
