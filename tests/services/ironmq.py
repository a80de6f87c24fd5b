"""IronMQ, for tests: a small HTTP server in place of the service of the vendor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.services.server import Server


class IronMQ(Server):
    """The stand-in. Its data stays if it is stopped in order.

    Args:
        port: the port of the loopback address; a free one by default.
        shortest: minimum duration of a reservation in seconds. The 30 of the service are too long for most tests.
    """

    product = "ironmq"

    def __init__(self, port: int | None = None, shortest: int = 30) -> None:
        super().__init__(port)
        self.shortest = shortest

    @property
    def options(self) -> dict[str, Any]:
        """Value of the setting `iron_mq`."""
        return {"host": self.host, "port": self.port, "protocol": "http", "project_id": "p", "token": "t"}

    def command(self) -> list[str]:
        """Listen on the loopback address only."""
        program = str(Path(__file__).with_name("ironmq_stand_in.py"))
        return [sys.executable, program, str(self.port), str(self.folder / "data"), str(self.shortest)]
