"""Procrastinate on PostgreSQL: one process, whose jobs run in threads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import procrastinate
from psycopg.conninfo import make_conninfo

from tests.bench import body
from tests.bench.trial import Place

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS_PER_WORKER = 4
"""Eight jobs at a time for two workers: with fewer it is slower."""

_database = Place.here().database
_address = make_conninfo(
    dbname=_database["NAME"], host=_database["HOST"], port=_database["PORT"], user=_database["USER"]
)
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=_address))
sync_app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=_address))


@app.task(name="mark", queue="bench")
def mark(index: int, sent: float) -> int:
    """The body, with the keywords that Procrastinate gives."""
    return body.mark(index, sent)


def setup() -> None:
    """Apply its schema."""
    with sync_app.open():
        sync_app.schema_manager.apply_schema()


def producer() -> Callable[..., object]:
    """Deferring, on one connection that stays."""
    sync_app.open()
    deferrer = sync_app.configure_task("mark", queue="bench")
    return lambda index, sent: deferrer.defer(index=index, sent=sent)


def worker(workers: int) -> list[str]:
    """The command line."""
    command = [sys.executable, "-m", "procrastinate", "--log-level", "error", "--app", f"{__name__}.app"]
    return [*command, "worker", "-c", str(workers * JOBS_PER_WORKER), "-q", "bench"]
