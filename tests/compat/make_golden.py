"""Makes the golden files: `python -m tests.compat.make_golden`.

Each edition's published wheel is installed with the Django it was made for (editions.py) into a
throw-away environment. There, `theirs/write.py` queues every case of `theirs/cases.py` with the
database as broker and copies what lies in the queue, plain and compressed; `theirs/fill.py` has the
edition's own cluster run tasks and fail, makes schedules, leaves tasks in the queue, and lists every
row as the edition's own models show it. The files in `golden` came from Python 3.9 (django-q),
3.11 (django-q2 1.5) and 3.12 (django-q2 1.11).

What is there is never made again: only cases and editions that are missing are added.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from tests.compat.editions import EDITIONS, GOLDEN, Edition, Installed


def add_packages(installed: Installed, folder: Path) -> None:
    """Add the cases that the golden packages lack."""
    for compress in (False, True):
        path = GOLDEN / f"{installed.edition.label}{'-compressed' if compress else ''}.json"
        there = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(installed.write(folder, compress=compress) | there, indent=1) + "\n")


def add_database(installed: Installed, folder: Path) -> None:
    """Add the database, as SQL and as the rows its own models show."""
    sql = GOLDEN / f"{installed.edition.label}.sql"
    if sql.exists():
        return
    database = folder / "fill.sqlite3"
    rows = installed.fill(database)
    with closing(sqlite3.connect(database)) as connection:
        sql.write_text("\n".join(connection.iterdump()) + "\n")
    sql.with_suffix(".rows.json").write_text(json.dumps(rows, indent=1) + "\n")


def make(edition: Edition) -> None:
    """Make what is missing of one edition."""
    with tempfile.TemporaryDirectory(prefix=f"{edition.label}-") as name:
        folder = Path(name)
        installed = Installed(edition, folder / "environment")
        add_packages(installed, folder)
        add_database(installed, folder)


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for edition in EDITIONS:
        if not wanted or edition.label in wanted:
            make(edition)
