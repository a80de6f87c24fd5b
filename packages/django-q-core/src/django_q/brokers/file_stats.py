"""Stores statistics of clusters in files beside an SQLite database.

A write into the database may make a request of the site fail, if it has read and is about to write:
https://docs.djangoproject.com/en/stable/ref/databases/#database-is-locked-errors
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from django_q.databases.sqlite import make_folder
from django_q.exceptions import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEFT_BEHIND_SECONDS: Final = 60
"""Age from which an incomplete file is deleted, because its writer has died."""


class FileStats:
    """One file per cluster, replaced atomically. Expired files are not read, and deleted when a cluster starts.

    Args:
        folder: folder of the files; the first write creates it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def set(self, key: str, value: str, timeout: float) -> None:
        """Store *value* for *timeout* seconds.

        Raises:
            BrokerError: the file cannot be written.
        """
        with self._converting_errors():
            self._write(key, {"key": key, "value": value, "expires": time.time() + timeout})

    def get(self, key: str) -> str | None:
        """Return the value under *key*, None if there is none.

        Raises:
            BrokerError: the file cannot be read.
        """
        with self._converting_errors():
            found = read(self._file(key))
        return found["value"] if found else None

    def all(self, pattern: str) -> list[str | bytes]:
        """Return all values under keys that match *pattern* (a prefix and `*`).

        Raises:
            BrokerError: a file cannot be read.
        """
        prefix = pattern.removesuffix("*")
        with self._converting_errors():
            return [found["value"] for found in self._all() if found["key"].startswith(prefix)]

    @contextmanager
    def _converting_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"The statistics in '{self.folder}' cannot be used ({error.strerror})"
            raise BrokerError(f"{reason}: let the cluster write there, and the site read.") from error

    def _write(self, key: str, entry: dict[str, Any]) -> None:
        file = self._file(key)
        is_new = not file.exists()
        if is_new:
            make_folder(self.folder)
            self._delete_expired()
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(entry), encoding="utf-8")
        unfinished.replace(file)

    def _file(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def _all(self) -> Iterator[dict[str, Any]]:
        for file in sorted(self.folder.glob("*.json")):
            if found := read(file):
                yield found

    def _delete_expired(self) -> None:
        too_old = time.time() - LEFT_BEHIND_SECONDS
        for file in self.folder.glob("[!.]*"):
            with suppress(FileNotFoundError):  # another cluster starts at the same time
                if read(file) is None if file.suffix == ".json" else file.stat().st_mtime < too_old:
                    file.unlink()


def read(file: Path) -> dict[str, Any] | None:
    """Return the entry in a file; None if it expired or does not exist."""
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):  # a crash of the machine may leave an empty file
        return None
    return found if time.time() < found["expires"] else None
