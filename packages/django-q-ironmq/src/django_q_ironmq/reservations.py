"""Message → its newest reservation id, for all processes of a cluster.

IronMQ gives a message another reservation id each time its lease is prolonged, and takes no other from then on. The
process that prolongs is not the one that acknowledges, and what they share is the machine: so the newest id of a
message whose lease was prolonged is kept in a file, until the message is settled.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

FORGOTTEN = 2 * 86_400
"""Seconds after which a file is of no use: a lease lasts a day at most."""


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
        self.folder = folder or Path(tempfile.gettempdir(), f"django-q-ironmq-{self.user}")
        self.queue = queue

    def usable(self) -> bool:
        """Can ids be kept here? Only in a folder that is ours alone."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            found = self.folder.lstat()
        except OSError:
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
        """The lease is about to be prolonged: whoever is refused now waits for the next id."""
        self._write(message, reservation, self.newest(message, reservation), CHANGING)

    def keep(self, message: str, reservation: str, newest: str) -> None:
        """Remember what followed *reservation*."""
        self._write(message, reservation, newest, "")

    def forget(self, message: str, reservation: str) -> None:
        """The message is settled."""
        with suppress(OSError):
            self._file(message, reservation).unlink()

    def tidy(self) -> None:
        """Forget messages that nobody settled."""
        oldest = time.time() - FORGOTTEN
        with suppress(OSError):
            for file in self.folder.iterdir():
                with suppress(OSError):
                    if file.stat().st_mtime < oldest:
                        file.unlink()

    def _read(self, message: str, reservation: str) -> tuple[str, str]:
        try:
            newest, state = self._file(message, reservation).read_text().split("\n")
        except (OSError, ValueError):
            return "", ""
        return newest, state

    def _write(self, message: str, reservation: str, newest: str, state: str) -> None:
        """Readers find what was or what is, never half of it."""
        file = self._file(message, reservation)
        half = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        half.write_text(f"{newest}\n{state}")
        half.replace(file)

    def _file(self, message: str, reservation: str) -> Path:
        name = hashlib.sha256(f"{self.queue}\n{message}\n{reservation}".encode()).hexdigest()
        return self.folder / name
