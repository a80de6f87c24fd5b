"""IronMQ, for tests: the vendor's service cannot be run, so a small HTTP server gives its answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.services.server import Server


class IronMQ(Server):
    """The stand-in, whose data outlives it when it is stopped in good order.

    Args:
        port: the port of the loopback address; a free one unless given.
        shortest: seconds that a reservation lasts at least; the service's own 30 are too long for most tests.
    """

    product = "ironmq"

    def __init__(self, port: int | None = None, shortest: int = 30) -> None:
        super().__init__(port)
        self.shortest = shortest

    @property
    def options(self) -> dict[str, Any]:
        """The setting `iron_mq`."""
        return {"host": self.host, "port": self.port, "protocol": "http", "project_id": "p", "token": "t"}

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        program = str(Path(__file__).with_name("ironmq_stand_in.py"))
        return [sys.executable, program, str(self.port), str(self.folder / "data"), str(self.shortest)]
