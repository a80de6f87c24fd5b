"""Disque, for tests: a `disque-server` if it is installed, or else a small server in its place."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.services.ports import free_port
from tests.services.server import Server

HIGHEST_PORT = 55_535
"""Disque adds 10,000 for the port of the connections between nodes."""


class Disque(Server):
    """One node. Its data stays if it is stopped.

    Args:
        port: the port of the loopback address; a free one by default.
        password: what clients have to know.
    """

    product = "disque"

    def __init__(self, port: int | None = None, password: str = "") -> None:
        super().__init__(port or _low_port())
        self.password = password

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        if server := shutil.which("disque-server"):
            secret = ["--requirepass", self.password] if self.password else []
            where = ["--bind", self.host, "--port", str(self.port), "--dir", str(self.folder)]
            return [server, *where, "--appendonly", "yes", "--aof-enqueue-jobs-once", "yes", *secret]
        program = str(Path(__file__).with_name("disque_stand_in.py"))
        return [sys.executable, program, str(self.port), str(self.folder / "data"), self.password]


def _low_port() -> int:
    while (port := free_port()) > HIGHEST_PORT:
        pass
    return port
