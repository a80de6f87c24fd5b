"""Lets a site and its clusters share an SQLite file: recommended options, locks and short transactions."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

MAX_WRITTEN_ROWS: Final = 100
"""Maximum number of rows that a transaction of Django Q writes, so that it takes a few milliseconds."""

WRITES_FIRST: Final = ("IMMEDIATE", "EXCLUSIVE")
"""Values of `transaction_mode` with which a transaction waits for the write lock at its beginning."""

SETS_WAL: Final = re.compile(r"journal_mode\s*[=(]\s*['\"]?wal\b", re.IGNORECASE)
"""Pattern of an `init_command` that sets WAL mode."""

WAL: Final = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
"""Recommended `init_command`."""


def missing_options(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the recommended `OPTIONS` that a database lacks, with their values; {} if it is not an SQLite file."""
    if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
        return {}
    options: Mapping[str, Any] = connection.settings_dict["OPTIONS"]
    missing = {}
    if str(options.get("transaction_mode")).upper() not in WRITES_FIRST:
        missing["transaction_mode"] = "IMMEDIATE"
    if not SETS_WAL.search(str(options.get("init_command"))) and not has_wal(connection.settings_dict["NAME"]):
        missing["init_command"] = WAL
    return missing


def has_wal(name: str | Path) -> bool:
    """Return True if a file is in WAL mode, which is stored in the file.

    Args:
        name: path or URI of the file.
    """
    uri = str(name)
    if not uri.startswith("file:"):
        uri = Path(name).absolute().as_uri()
    try:
        with closing(sqlite3.connect(f"{uri}{'&' if '?' in uri else '?'}mode=ro", uri=True, timeout=0)) as file:
            (mode,) = file.execute("PRAGMA journal_mode").fetchone()
    except sqlite3.Error:  # not created yet
        return False
    return bool(mode == "wal")


def folder_beside(connection: BaseDatabaseWrapper) -> Path | None:
    """Return the folder for files of clusters beside a database; None if it is not an SQLite file."""
    if connection.vendor != "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA database_list")
        files = {name: file for _number, name, file in cursor.fetchall()}
    return Path(f"{files['main']}-clusters") if files.get("main") else None


def make_folder(folder: Path) -> None:
    """Create the folder of `folder_beside` with the permissions of its parent; version control ignores it."""
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(folder.parent.stat().st_mode & 0o777)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")


@contextmanager
def exclusive(connection: BaseDatabaseWrapper, name: str) -> Iterator[bool]:
    """Hold a file lock beside an SQLite file, which the system releases when the process ends.

    Unlike a lock of the database, it blocks no writer of the site.

    Args:
        connection: connection to the database.
        name: name of the lock.

    Yields:
        False if another process holds the lock.
    """
    import fcntl  # not on Windows, where no cluster runs

    folder = folder_beside(connection)
    if folder is None:  # a database in memory, which no other process uses
        yield True
        return
    make_folder(folder)
    with (folder / f".{name}").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def has_one_writer(connection: BaseDatabaseWrapper) -> bool:
    """Return True if other writers wait for each transaction of Django Q: SQLite has one writer at a time.

    Within a transaction of the caller, the result is False, because its length does not depend on Django Q.
    """
    return connection.vendor == "sqlite" and not connection.in_atomic_block


def short(items: Sequence[T], connection: BaseDatabaseWrapper, rows: int = MAX_WRITTEN_ROWS) -> Iterator[Sequence[T]]:
    """Yield parts of items, so that a transaction for each part takes a few milliseconds.

    If no other writer waits for the transaction, all items are one part.

    Args:
        items: the items, of which each becomes a row.
        connection: connection to their database.
        rows: maximum number of items of a part.
    """
    if not has_one_writer(connection):
        yield items
        return
    for start in range(0, len(items), rows):
        yield items[start : start + rows]


def short_and_slow(
    items: Sequence[T], connection: BaseDatabaseWrapper, rows: int = MAX_WRITTEN_ROWS
) -> Iterator[Sequence[T]]:
    """Yield parts like `short`, and pause after each part for as long as it took.

    A waiting connection asks for SQLite's lock at growing intervals, so the lock must be free for half of the time.
    """
    for part in short(items, connection, rows):
        began = time.monotonic()
        yield part
        if len(part) < len(items):
            time.sleep(time.monotonic() - began)


def release_pages(connection: BaseDatabaseWrapper) -> None:
    """Release the memory of SQLite's page cache, 2 MB by default: a process of a cluster rarely reads a page twice.

    A connection that is not open stays so.
    """
    if connection.vendor == "sqlite" and connection.connection is not None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA shrink_memory")
