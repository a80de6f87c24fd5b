"""A database under pressure: transactions that stay open while tasks come in."""

from __future__ import annotations

from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import psycopg

from . import body
from .children import run
from .figures import TRIAL_SECONDS
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .body import Record
    from .children import Figures
    from .servers import Servers
    from .trial import Place, Trial


def pressing(servers: Servers, trial: Trial, rate: float, seconds: float) -> Figures:
    """Offer tasks at an even pace while three transactions of PostgreSQL stay open."""
    with servers.place(trial) as place:
        run(place, "setup")
        with open_transactions(place, 3), Workers(place) as workers:
            run(place, "pace", rate, seconds)
            workers.wait_for(int(rate * seconds), TRIAL_SECONDS)
        waiting = list(backlogs(body.read(place.records), rate))
    quarter = max(len(waiting) // 4, 1)
    return {"first_backlog": median(waiting[:quarter]), "last_backlog": median(waiting[-quarter:])}


@contextmanager
def open_transactions(place: Place, count: int) -> Iterator[None]:
    database = place.database
    address = {"host": database["HOST"], "port": database["PORT"], "user": database["USER"], "dbname": database["NAME"]}
    connections = [psycopg.connect(**address) for _ in range(count)]
    try:
        for connection in connections:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT pg_current_xact_id(), count(*) FROM django_q_task")
        yield
    finally:
        for connection in connections:
            connection.close()


def backlogs(records: Sequence[Record], rate: float) -> Iterator[int]:
    """Second by second of the time in which tasks are offered: how many of them were not yet executed.

    A task is offered when it was to be enqueued: a sender who falls behind has a backlog.
    """
    first = min(record.sent for record in records)
    for second in range(1, int(len(records) / rate) + 1):
        yield sum(record.index / rate <= second < record.ran - first for record in records)
