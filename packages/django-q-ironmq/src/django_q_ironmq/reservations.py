"""Message → its newest reservation id, for all processes of a cluster.

IronMQ gives a message another reservation id each time its lease is prolonged, and takes no other from then on. The
process that prolongs is not the one that acknowledges, and what they share is the machine: so the newest id of a
message whose lease was prolonged is kept in a file, until the message is settled.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

MAX_AGE_SECONDS = 2 * 86_400
"""Seconds after which a file is of no use: a lease lasts a day at most."""


DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk, or a user's part of it, that is full."""

MIN_FILE_BYTES = 512
"""Minimum size of a file: the next id takes the room of the one before."""

CHANGING = "changing"
"""What a file says while the next id is not known yet."""


class Reservations:
    """The newest reservation ids of one queue.

    Args:
        queue: what tells the queue from all others: server, project and name.
        folder: of this user; in the folder for temporary files unless given.
    """

    def __init__(self, queue: str, folder: Path | None = None) -> None:
        self.user = os.getuid() if hasattr(os, "getuid") else 0
        self.folder = folder or Path(temporary_folder(), f"django-q-ironmq-{self.user}")
        self.queue = queue

    def usable(self) -> bool:
        """Return True if ids can be kept here: only in a folder that is ours alone.

        Raises:
            OSError: the folder is missing, and the disk is full.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            found = self.folder.lstat()
        except OSError as error:
            if error.errno in DISK_FULL_ERRORS:
                raise
            return False
        ours = found.st_uid == self.user and found.st_mode & 0o022 == 0
        return ours and os.access(self.folder, os.W_OK | os.X_OK)

    def newest(self, message: str, reservation: str) -> str:
        """The reservation id that followed *reservation*, or that itself."""
        return self._read(message, reservation)[0] or reservation

    def is_changing(self, message: str, reservation: str) -> bool:
        """Is the lease being prolonged at this moment?"""
        return self._read(message, reservation)[1] == CHANGING

    def begin(self, message: str, reservation: str) -> None:
        """Note that the lease is about to be prolonged: a process that is refused now waits for the next id.

        The room for that id is taken beforehand: without it, no process could settle the message any more.

        Raises:
            OSError: it cannot be noted.
        """
        self._write(message, reservation, self.newest(message, reservation), CHANGING)
        overwrite(self._half(self._file(message, reservation)), "")

    def keep(self, message: str, reservation: str, newest: str) -> None:
        """Remember what followed *reservation*."""
        self._write(message, reservation, newest, "")

    def forget(self, message: str, reservation: str) -> None:
        """The message is settled."""
        file = self._file(message, reservation)
        for each in (file, self._half(file)):
            with suppress(OSError):
                each.unlink()

    def tidy(self) -> None:
        """Forget messages that nobody settled."""
        oldest = time.time() - MAX_AGE_SECONDS
        with suppress(OSError):
            for file in self.folder.iterdir():
                with suppress(OSError):
                    if file.stat().st_mtime < oldest:
                        file.unlink()

    def _read(self, message: str, reservation: str) -> tuple[str, str]:
        try:
            newest, state, _ = self._file(message, reservation).read_text().split("\n")
        except (OSError, ValueError):
            return "", ""
        return newest, state

    def _write(self, message: str, reservation: str, newest: str, state: str) -> None:
        """Readers find what was or what is, never half of it."""
        file = self._file(message, reservation)
        half = self._half(file)
        overwrite(half, f"{newest}\n{state}\n")
        half.replace(file)

    def _half(self, file: Path) -> Path:
        return file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")

    def _file(self, message: str, reservation: str) -> Path:
        name = hashlib.sha256(f"{self.queue}\n{message}\n{reservation}".encode()).hexdigest()
        return self.folder / name


def overwrite(file: Path, text: str) -> None:
    """Write a text over what a file contains, without giving up its room."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as opened:
        opened.write(text.ljust(MIN_FILE_BYTES))


def temporary_folder() -> str:
    """Return the folder for temporary files, be it full: `tempfile` would choose another one in some processes."""
    given = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    folders = [*given, "/tmp"]
    return next((folder for folder in folders if folder and Path(folder).is_dir()), None) or tempfile.gettempdir()
