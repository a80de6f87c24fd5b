"""Steps that run in a separate process: `python -m tests.bench.child setup|send|pace|work`.

What a child finds out, it prints as JSON in its last line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from . import peers
from .trial import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .peers import Peer
    from .trial import Trial

CHUNK = 10_000
"""Tasks in one `async_bulk`, and rows in one `bulk_create`."""


def setup(peer: Peer, trial: Trial) -> None:
    """Make tables, and fill ours."""
    peer.setup()
    if trial.rows:
        _fill(trial.rows)


def send(peer: Peer, trial: Trial) -> dict[str, float]:
    """Enqueue all tasks as fast as one process can.

    The first goes ahead: it opens the connection. It counts as a task and is not timed.
    """
    put = peer.producer()
    more = _more(trial)
    put(0, time.time(), *more)
    if trial.sending == "bulk":
        return _timed(lambda: _bulk(trial, more), trial.tasks - 1)

    def each() -> None:
        for index in range(1, trial.tasks):
            put(index, time.time(), *more)

    return _timed(each, trial.tasks - 1)


def pace(peer: Peer, trial: Trial) -> None:
    """Enqueue tasks at an even pace: how many a second, and for how many seconds, the arguments say."""
    rate, seconds = map(float, sys.argv[2:4])
    put, began = peer.producer(), time.perf_counter()
    for index in range(int(rate * seconds)):
        time.sleep(max(began + index / rate - time.perf_counter(), 0))
        put(index, time.time())


def work(peer: Peer, trial: Trial) -> None:
    """Become the workers."""
    command = peer.worker(trial.workers)
    os.execv(command[0], command)


def _more(trial: Trial) -> tuple[Any, ...]:
    if trial.payload:
        return trial.seconds, os.urandom(trial.payload)
    return (trial.seconds,) if trial.seconds else ()


def _bulk(trial: Trial, more: tuple[Any, ...]) -> None:
    from django.db import transaction
    from django_q.tasks import async_bulk

    from .peers.ours import TASK

    with transaction.atomic():
        for numbers in _chunks(1, trial.tasks):
            async_bulk([(TASK, (index, time.time(), *more)) for index in numbers])


def _timed(action: Callable[[], None], count: int) -> dict[str, float]:
    started, processor = time.perf_counter(), time.process_time()
    action()
    return {
        "enqueue_per_s": round(count / (time.perf_counter() - started)),
        "enqueue_cpu_us": round((time.process_time() - processor) / count * 1e6),
    }


def _fill(rows: int) -> None:
    """Make rows as other editions leave them: with random ids, and names made from these."""
    from datetime import timedelta
    from uuid import uuid4

    from django.db import connection
    from django.utils import timezone
    from django_q.models import Task
    from django_q.wire.ids import new_name

    now = timezone.now()
    for numbers in _chunks(0, rows):
        old = ((uuid4().hex, now - timedelta(seconds=rows - number)) for number in numbers)
        Task.objects.bulk_create(
            Task(id=pk, name=new_name(pk), func="old", args=(1,), kwargs={}, result=1, started=when, stopped=when)
            for pk, when in old
        )
    # Rows that have been there for long have been vacuumed, and are on the disk.
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")
    os.sync()


def _chunks(start: int, stop: int) -> Iterator[range]:
    return (range(first, min(first + CHUNK, stop)) for first in range(start, stop, CHUNK))


ACTIONS: dict[str, Callable[[Peer, Trial], object]] = {"setup": setup, "send": send, "pace": pace, "work": work}


if __name__ == "__main__":
    told = Place.here().trial
    print(json.dumps(ACTIONS[sys.argv[1]](peers.load(told.peer), told)))
