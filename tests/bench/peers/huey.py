"""Huey on Redis, with worker processes, which its page advises for work of the processor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from huey import RedisHuey

from tests.bench import body
from tests.bench.trial import Place

if TYPE_CHECKING:
    from collections.abc import Callable

app = RedisHuey("bench", url=Place.here().redis)
mark = app.task()(body.mark)


def setup() -> None:
    """It has no tables."""


def producer() -> Callable[..., object]:
    """The task is its own producer."""
    return mark


def worker(workers: int) -> list[str]:
    """The consumer."""
    return [
        sys.executable,
        "-m",
        "huey.bin.huey_consumer",
        f"{__name__}.app",
        "-k",
        "process",
        "-w",
        str(workers),
        "-q",
    ]
