"""Polls for results with increasing pauses, for `wait=`."""

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

MIN_PAUSE_SECONDS: Final = 0.001
"""Pause between the first two reads: many results exist at once, and most others take long."""

MAX_PAUSE_SECONDS: Final = 0.05
"""Maximum pause between two reads."""


class Missing(enum.Enum):
    """Type of `MISSING`, which a read returns if it finds nothing. `None` cannot be used: it is a valid result."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING
"""No result exists (yet)."""


def wait_for(read: Callable[[], T | Missing], wait: float = 0) -> T | Missing:
    """Read until there is a value, or until the time is over, even if a test has frozen the time.

    Do not wait inside a transaction that keeps its snapshot (MySQL's default inside `atomic`): it never sees commits of
    others.

    Args:
        read: reads once; returns `MISSING` if there is no value yet.
        wait: milliseconds; 0 reads once, -1 waits without limit.

    Returns:
        The value, or `MISSING`.

    Raises:
        OptionError: `wait` is not a number.
    """
    wait = milliseconds("wait", wait)
    value = read()
    for seconds in pauses(wait) if value is MISSING else ():
        time.sleep(seconds)
        if (value := read()) is not MISSING:
            break
    return value


async def await_for(read: Callable[[], Awaitable[T | Missing]], wait: float = 0) -> T | Missing:
    """Read like `wait_for`, without blocking the event loop."""
    wait = milliseconds("wait", wait)
    value = await read()
    for seconds in pauses(wait) if value is MISSING else ():
        await _sleep(seconds)
        if (value := await read()) is not MISSING:
            break
    return value


def pauses(wait: float) -> Iterator[float]:
    """Yield the pause in seconds before each further read, longer each time, until *wait* milliseconds are over."""
    over = math.inf if wait < 0 else real_clock() + wait / 1000
    pause = MIN_PAUSE_SECONDS
    while (left := over - real_clock()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.5, MAX_PAUSE_SECONDS)


async def _sleep(seconds: float) -> None:
    """Pause without blocking the event loop, whose own clock may be frozen."""
    if isinstance(time.monotonic, BuiltinFunctionType):
        await asyncio.sleep(seconds)
    else:
        await asyncio.to_thread(time.sleep, seconds)
