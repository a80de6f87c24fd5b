"""Helps a site and its clusters to share an SQLite file."""

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
"""Maximum number of rows that a transaction of ours writes, so that it takes no more than a few milliseconds."""

WRITES_FIRST: Final = ("IMMEDIATE", "EXCLUSIVE")
"""Values of `transaction_mode` with which a transaction waits for its turn when it begins."""

SETS_WAL: Final = re.compile(r"journal_mode\s*[=(]\s*['\"]?wal\b", re.IGNORECASE)

WAL: Final = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"


def missing_options(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the `OPTIONS` that a database lacks; none if it is not an SQLite file."""
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
    """Return True if a file is in WAL mode, which it keeps once it is set."""
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
    """Return the folder for what clusters keep beside a database; None if it is not an SQLite file."""
    if connection.vendor != "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA database_list")
        files = {name: file for _number, name, file in cursor.fetchall()}
    return Path(f"{files['main']}-clusters") if files.get("main") else None


def make_folder(folder: Path) -> None:
    """Create such a folder with the permissions of the database's folder; version control ignores it."""
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(folder.parent.stat().st_mode & 0o777)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")


@contextmanager
def exclusive(connection: BaseDatabaseWrapper, name: str) -> Iterator[bool]:
    """Hold a lock of the system beside an SQLite file, which ends with its process; give False if another has it.

    Unlike the lock of the database, it makes no writer of the site wait.

    Args:
        connection: to the database.
        name: of the lock.
    """
    import fcntl  # not on Windows, where no cluster runs

    folder = folder_beside(connection)
    if folder is None:  # in memory: no other process has it
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


def takes_turns(connection: BaseDatabaseWrapper) -> bool:
    """Return True if all other writers wait for the end of each of our transactions: SQLite has one writer at a time.

    Within a transaction of the caller, only its owner decides how long it is.
    """
    return connection.vendor == "sqlite" and not connection.in_atomic_block


def short(items: Sequence[T], connection: BaseDatabaseWrapper, rows: int = MAX_WRITTEN_ROWS) -> Iterator[Sequence[T]]:
    """Return parts that take a few milliseconds to write, where others wait for that; elsewhere all at once.

    Each part is written by a transaction of its own.

    Args:
        items: a row of each is written.
        connection: to their database.
        rows: the length of a part.
    """
    if not takes_turns(connection):
        yield items
        return
    for start in range(0, len(items), rows):
        yield items[start : start + rows]


def short_and_slow(
    items: Sequence[T], connection: BaseDatabaseWrapper, rows: int = MAX_WRITTEN_ROWS
) -> Iterator[Sequence[T]]:
    """Return such parts of what is not urgent, and pause after each for as long as it took.

    A waiting connection tries to get SQLite's lock less and less often, so it must be free for half of the time.
    """
    for part in short(items, connection, rows):
        began = time.monotonic()
        yield part
        if len(part) < len(items):
            time.sleep(time.monotonic() - began)


def release_pages(connection: BaseDatabaseWrapper) -> None:
    """Release the memory of pages that SQLite has read, 2 MB by default: our processes hardly read a page twice."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA shrink_memory")
