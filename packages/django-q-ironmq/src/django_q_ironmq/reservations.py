"""Stores the newest reservation id of each message in a file, for all processes of a cluster.

IronMQ creates another reservation id at each renewal, and accepts no earlier one. One process renews and another one
acknowledges, both on one machine. The file is deleted when the message is settled.
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
"""Age after which a file is deleted. A lease lasts at most a day."""

DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk, or of a user's exhausted quota."""

MIN_FILE_BYTES = 512
"""Minimum size of a file. The next id is written into the space of the one before."""

CHANGING_STATE = "changing"
"""State in a file while the next id is not known yet."""


class Reservations:
    """Newest reservation ids of one queue.

    Args:
        queue: server, project and name, which identify the queue.
        folder: folder of this user; None for one in the folder for temporary files.
    """

    def __init__(self, queue: str, folder: Path | None = None) -> None:
        self.user = os.getuid() if hasattr(os, "getuid") else 0
        self.folder = folder or Path(temporary_folder(), f"django-q-ironmq-{self.user}")
        self.queue = queue

    def usable(self) -> bool:
        """Return True if ids can be stored: the folder exists, and only this user can write to it.

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
        """Return the newest reservation id of a message that was delivered with *reservation*."""
        return self._read(message, reservation)[0] or reservation

    def is_changing(self, message: str, reservation: str) -> bool:
        """Return True if a process is renewing the lease."""
        return self._read(message, reservation)[1] == CHANGING_STATE

    def begin(self, message: str, reservation: str) -> None:
        """Store that the lease is being renewed, so that a process whose id is rejected waits for the next one.

        The disk space for the next id is allocated first: without that id, no process could settle the message.

        Raises:
            OSError: the file cannot be written.
        """
        self._write(message, reservation, self.newest(message, reservation), CHANGING_STATE)
        overwrite(self._temporary(self._file(message, reservation)), "")

    def keep(self, message: str, reservation: str, newest: str) -> None:
        """Store the newest reservation id of a message that was delivered with *reservation*."""
        self._write(message, reservation, newest, "")

    def forget(self, message: str, reservation: str) -> None:
        """Delete the files of a settled message."""
        file = self._file(message, reservation)
        for each in (file, self._temporary(file)):
            with suppress(OSError):
                each.unlink()

    def delete_old(self) -> None:
        """Delete the files of messages that were not settled."""
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
        """Replace a file, so that readers find its old or its new content, never a part."""
        file = self._file(message, reservation)
        temporary = self._temporary(file)
        overwrite(temporary, f"{newest}\n{state}\n")
        temporary.replace(file)

    def _temporary(self, file: Path) -> Path:
        return file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")

    def _file(self, message: str, reservation: str) -> Path:
        name = hashlib.sha256(f"{self.queue}\n{message}\n{reservation}".encode()).hexdigest()
        return self.folder / name


def overwrite(file: Path, text: str) -> None:
    """Overwrite a file without releasing its disk space."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as opened:
        opened.write(text.ljust(MIN_FILE_BYTES))


def temporary_folder() -> str:
    """Return the folder for temporary files, even if it is full: `tempfile` may choose another one then."""
    given = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    folders = [*given, "/tmp"]
    return next((folder for folder in folders if folder and Path(folder).is_dir()), None) or tempfile.gettempdir()
