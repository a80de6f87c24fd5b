"""Dramatiq on Redis, with its eight threads in each worker process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.bench import body
from tests.bench.trial import Place

if TYPE_CHECKING:
    from collections.abc import Callable

broker = RedisBroker(url=Place.here().redis)
dramatiq.set_broker(broker)
mark = dramatiq.actor(actor_name="mark", queue_name="bench")(body.mark)


def setup() -> None:
    """It has no tables."""


def producer() -> Callable[..., object]:
    """The actor's own."""
    return mark.send


def worker(workers: int) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "dramatiq", __name__, "-p", str(workers)]
