"""Waits for what other processes do: the only polling loop."""

from __future__ import annotations

import asyncio
import enum
import math
import time
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Final, TypeVar

from django_q.clock import real_clock
from django_q.wire.option_values import milliseconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

FOR_EVER: Final = -1
"""The `wait` that never ends."""

SHORTEST: Final = 0.001
"""Seconds between the first two reads: most results are there at once or after a while."""

LONGEST: Final = 0.05
"""Maximum of seconds between two reads."""


class Missing(enum.Enum):
    """What a read returns that found nothing: `None`, zero and empty text are results like any other."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING
"""There is nothing (yet)."""


def wait_for(read: Callable[[], T | Missing], wait: float = 0) -> T | Missing:
    """Read until there is something, or the time is over; also if a test has frozen the time.

    A transaction that keeps its snapshot (MySQL's default inside `atomic`) never sees what others commit: wait outside.

    Args:
        read: reads once; returns `MISSING` when there is nothing yet.
        wait: milliseconds; 0 reads once, -1 waits without end.

    Returns:
        What was read, or `MISSING`.

    Raises:
        OptionError: `wait` is no number.
    """
    wait = milliseconds("wait", wait)
    value = read()
    for seconds in pauses(wait) if value is MISSING else ():
        time.sleep(seconds)
        if (value := read()) is not MISSING:
            break
    return value


async def await_for(read: Callable[[], Awaitable[T | Missing]], wait: float = 0) -> T | Missing:
    """Do as `wait_for` does, without blocking the event loop."""
    wait = milliseconds("wait", wait)
    value = await read()
    for seconds in pauses(wait) if value is MISSING else ():
        await _sleep(seconds)
        if (value := await read()) is not MISSING:
            break
    return value


def pauses(wait: float) -> Iterator[float]:
    """Return the seconds to pause before each further read, longer and longer, until *wait* milliseconds are over."""
    over = math.inf if wait < 0 else real_clock() + wait / 1000
    pause = SHORTEST
    while (left := over - real_clock()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.5, LONGEST)


async def _sleep(seconds: float) -> None:
    """Pause without blocking the event loop, whose own clock may be frozen."""
    if isinstance(time.monotonic, BuiltinFunctionType):
        await asyncio.sleep(seconds)
    else:
        await asyncio.to_thread(time.sleep, seconds)
