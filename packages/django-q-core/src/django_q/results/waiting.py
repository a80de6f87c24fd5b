"""Waiting for something that somebody else does: the only polling loop."""

from __future__ import annotations

import asyncio
import enum
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

FOR_EVER: Final = -1
"""The `wait` that never ends."""

SHORTEST: Final = 0.001
"""Seconds between the first two looks: most results are there at once or after a while."""

LONGEST: Final = 0.05
"""Seconds between two looks at the most."""


class Missing(enum.Enum):
    """What a read returns that found nothing: `None`, zero and empty text are results like any other."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING
"""There is nothing (yet)."""


def wait_for(read: Callable[[], T | Missing], wait: float = 0) -> T | Missing:
    """Read until there is something, or the time is over.

    A transaction that keeps its snapshot (MySQL's default inside `atomic`) never sees what others commit: wait outside.

    Args:
        read: looks once; gives `MISSING` when there is nothing yet.
        wait: milliseconds; 0 looks once, -1 waits for ever.

    Returns:
        What was read, or `MISSING`.
    """
    value = read()
    for seconds in pauses(wait) if value is MISSING else ():
        time.sleep(seconds)
        if (value := read()) is not MISSING:
            break
    return value


async def await_for(read: Callable[[], Awaitable[T | Missing]], wait: float = 0) -> T | Missing:
    """Do as `wait_for` does, without blocking the event loop."""
    value = await read()
    for seconds in pauses(wait) if value is MISSING else ():
        await asyncio.sleep(seconds)
        if (value := await read()) is not MISSING:
            break
    return value


def pauses(wait: float) -> Iterator[float]:
    """Give the seconds to pause before each further look, longer and longer, until *wait* milliseconds are over."""
    over = float("inf") if wait < 0 else time.monotonic() + wait / 1000
    pause = SHORTEST
    while (left := over - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.5, LONGEST)
